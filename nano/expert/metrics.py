"""Scores of predicted labels against exact ones."""

from collections.abc import Iterable

import numpy as np

from experts.base import Label
from nano.expert.training_data import Truth


class Scores:
    """Accumulates scores over scenes."""

    def __init__(self, semantic_classes: int) -> None:
        self.means: dict[str, list[float]] = {"depth_error": [], "normal_degrees": [], "edge_error": []}
        self.confusion = np.zeros((semantic_classes, semantic_classes), np.int64)
        self.counts = dict.fromkeys(("found", "exact", "predicted", "words", "read", "invented"), 0)

    def add(self, labels: dict[str, Label], truth: Truth) -> None:
        """Adds a scene."""
        maps = {name: label.map for name, label in labels.items()}
        self.means["depth_error"].append(_error(maps["depth"], truth.maps["depth"]))
        self.means["edge_error"].append(_error(maps["edge"], truth.maps["edge"]))
        self.means["normal_degrees"].append(_degrees(maps["normal"], truth.maps["normal"]))
        np.add.at(self.confusion, (truth.maps["seg_scenes"], maps["seg_scenes"]), 1)
        detection = labels["obj_detection"]
        self.counts["found"] += count_found(
            detection.map, detection.instances, truth.maps["obj_detection"], truth.instances
        )
        self.counts["exact"] += len(truth.instances)
        self.counts["predicted"] += len(detection.instances)
        words = [word.text for word in (labels["ocr_detection"].words or {}).values()]
        if truth.word:
            self.counts["words"] += 1
            self.counts["read"] += words == [truth.word[0]]
        else:
            self.counts["invented"] += len(words)

    def summary(self) -> dict[str, float]:
        """The scores, rounded; errors of depth and edges are shares of the full range."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        counts = self.counts
        scores = {name: float(np.mean(values)) for name, values in self.means.items()}
        scores["segmentation_miou"] = float((hits[union > 0] / union[union > 0]).mean())
        scores["instances_found"] = counts["found"] / max(counts["exact"], 1)
        scores["instances_right"] = counts["found"] / max(counts["predicted"], 1)
        scores["words_read"] = counts["read"] / max(counts["words"], 1)
        scores["words_invented"] = counts["invented"]
        return {name: round(value, 4) for name, value in scores.items()}


def count_found(ids: np.ndarray, classes: dict, exact_ids: np.ndarray, exact: dict) -> int:
    """The number of exact instances that match a predicted one of their class with IoU above 0.5."""
    found = 0
    for key, index in exact.items():
        mask = exact_ids == key
        overlaps: Iterable[float] = (
            (mask & (ids == other)).sum() / max((mask | (ids == other)).sum(), 1)
            for other, predicted in classes.items()
            if predicted == index
        )
        found += any(overlap > 0.5 for overlap in overlaps)
    return found


def _error(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - two).mean() / 255)


def _degrees(one: np.ndarray, two: np.ndarray) -> float:
    one, two = (values.astype(np.float32) / 127.5 - 1 for values in (one, two))
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return float(np.degrees(np.arccos(np.clip((one * two).sum(-1) / norms, -1, 1))).mean())
