"""Scenes with exact labels as targets of the nano experts."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from common.errors import UserError
from dataset.images import read_image
from dataset.loader import Loader
from experts.dataset_images import ImageFile, images_to_label
from experts.label_writer import label_png
from model.modalities import BACKGROUND
from nano.expert.backend import prepare

NO_WORD = -1
_CENTRE_SPREAD = 2.0  # standard deviation of the peak at a centre, in cells


@dataclass(frozen=True)
class Truth:
    """The exact labels of a scene, at the size of its image.

    Attributes:
        maps: label map by modality; without a word there is no `ocr_detection`.
        instances: class of each instance id.
        word: text and embedding; None without a sign.
    """

    maps: dict[str, np.ndarray]
    instances: dict[int, int]
    word: tuple[str, list[float]] | None


def read_truth(labels: Path, name: str) -> Truth:
    """Reads the label files of a scene."""
    try:
        maps = {
            modality: np.array(Image.open(label_png(labels, modality, name)))
            for modality in ("depth", "normal", "seg_scenes", "edge", "obj_detection")
        }
        sidecar = label_png(labels, "obj_detection", name).with_suffix(".json")
        instances = {int(key): index for key, index in json.loads(sidecar.read_text()).items()}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing; write scenes with: python -m nano.scenes") from None
    png = label_png(labels, "ocr_detection", name)
    if not png.exists() or not png.stat().st_size:
        return Truth(maps, instances, None)
    maps["ocr_detection"] = np.array(Image.open(png))
    word = json.loads(png.with_suffix(".json").read_text())["0"]
    return Truth(maps, instances, (word["text"], word["features"]))


def scene_images(data: Path, split: str) -> list[ImageFile]:
    """The images of a split (`train2014` or `val2014`) of a Scenes folder."""
    return images_to_label(data, [f"vqav2/{split}"])


class SceneTargets(Dataset):
    """One scene as the network's input (side s) and targets (maps of side h = s / 2).

    Keys: `images` uint8 (3, s, s); `depth`, `semantic`, `classes`, `centre`, `text` uint8 (h, h);
    `normal` uint8 (3, h, h); `edge` uint8 (s, s); `offset` float16 (2, h, h); `box` float32 (4,) around
    the word in input pixels; `word` int64, an index or NO_WORD.
    """

    def __init__(
        self, data: Path, images: list[ImageFile], words: tuple[str, ...], side: int, background: int
    ) -> None:
        self.labels = data / "labels"
        self.images = images
        self.words = words
        self.side = side
        self.background = background

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | Tensor]:
        image = self.images[index]
        truth = read_truth(self.labels, image.label)
        half = self.side // 2
        text = np.full((half, half), BACKGROUND, np.uint8)
        if truth.word:
            text = _squash(truth.maps["ocr_detection"], half, Image.Resampling.NEAREST)
        ids = _squash(truth.maps["obj_detection"], half, Image.Resampling.NEAREST)
        classes, centre, offset = instance_targets(ids, truth.instances, self.background)
        return {
            "images": prepare(read_image(Path(image.path)), self.side),
            "depth": _squash(truth.maps["depth"], half, Image.Resampling.BOX),
            "normal": _squash(truth.maps["normal"], half, Image.Resampling.BOX).transpose(2, 0, 1).copy(),
            "edge": _squash(truth.maps["edge"], self.side, Image.Resampling.BILINEAR),
            "semantic": _squash(truth.maps["seg_scenes"], half, Image.Resampling.NEAREST),
            "classes": classes,
            "centre": centre,
            "offset": offset,
            "text": (text != BACKGROUND).astype(np.uint8),
            "box": 2 * _box(text != BACKGROUND),
            "word": np.int64(self.words.index(truth.word[0]) if truth.word else NO_WORD),
        }


def instance_targets(
    ids: np.ndarray, instances: dict[int, int], background: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The targets of the detection's heads.

    Args:
        ids: uint8 (h, w) instance ids.
        instances: the class of each id.
        background: the class of cells without an instance.

    Returns:
        Classes uint8 (h, w); peaks at the instances' centres uint8 (h, w), 255 at the top; offsets float16
        (2, h, w) from each cell to the centre of its instance, x and y, in cells.
    """
    classes = np.full(ids.shape, background, np.uint8)
    centre = np.zeros(ids.shape, np.float32)
    offset = np.zeros((2, *ids.shape), np.float16)
    y, x = np.mgrid[: ids.shape[0], : ids.shape[1]].astype(np.float32)
    for key, index in instances.items():
        mask = ids == key
        if not mask.any():
            continue
        middle_x, middle_y = x[mask].mean(), y[mask].mean()
        classes[mask] = index
        offset[:, mask] = middle_x - x[mask], middle_y - y[mask]
        # The peak is on a cell, so that its maximum is 1.
        distance = (x - round(float(middle_x))) ** 2 + (y - round(float(middle_y))) ** 2
        centre = np.maximum(centre, np.exp(-distance / (2 * _CENTRE_SPREAD**2)))
    return classes, (centre * 255).astype(np.uint8), offset


def load_targets(dataset: SceneTargets, workers: int) -> dict[str, Tensor]:
    """All scenes, stacked: about 0.2 MB each at side 160."""
    batches = list(Loader(dataset, 64, num_workers=workers))
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def find_words(data: Path, images: list[ImageFile]) -> dict[str, list[float]]:
    """All words on the signs of the scenes, sorted, with their embeddings."""
    words = {}
    for image in images:
        sidecar = label_png(data / "labels", "ocr_detection", image.label).with_suffix(".json")
        if sidecar.exists():
            word = json.loads(sidecar.read_text())["0"]
            words[word["text"]] = word["features"]
    return dict(sorted(words.items()))


def _squash(values: np.ndarray, side: int, resampling: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(values).resize((side, side), resampling))


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.array([0, 0, 4, 4], np.float32)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
