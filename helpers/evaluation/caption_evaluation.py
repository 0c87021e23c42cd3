"""Evaluating captions: generate them for a test set, write them, score them, print the scores."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset
from dataset.ground_truth import DOMAINS, ImageId
from dataset.text import as_sentence
from helpers.evaluation.caption_metrics import METRICS, Captions, CaptionScores, score_captions, score_groups
from helpers.evaluation.prediction import Results, Scores, conclude, predict_all
from helpers.training.run import Run
from helpers.training.settings import DecodingConfig
from model.inputs import Inputs

OVERALL = "overall"


def evaluate_captions(run: Run[Any, DecodingConfig], loader: DataLoader, name: str, prefix: str) -> dict[str, float]:
    """Captions a test set, writes results and scores, and prints the scores.

    Args:
        run: with its model built.
        loader: of a `CaptionDataset`.
        name: of the files below `results/`.
        prefix: the beginning of each caption.

    Returns:
        Scores by metric; empty without references, and on all processes but the main one.
    """
    dataset: CaptionDataset = loader.dataset
    config = run.config

    def caption(inputs: Inputs, batch: dict[str, Any]) -> Results:
        texts, scores = run.prismer.generate(inputs, prefix, **config.decoding, return_scores=True)
        return [
            {"image_id": image_id, "caption": as_sentence(text), "score": score}
            for image_id, text, score in zip(batch["image_id"], texts, scores, strict=True)
        ]

    def score(results: Results) -> Scores | None:
        references = dataset.references()
        if not references:
            return None
        # Unreadable images are left out; the loader has named them.
        captioned = {row["image_id"]: references[row["image_id"]] for row in results}
        if not dataset.domains:
            found = score_captions(results, captioned, config.metrics)
            return Scores(found.metrics, found.table(), {"scores": found.metrics, "notes": found.notes})
        by_domain = score_domains(results, captioned, dataset.domains, config.metrics)
        found = by_domain[OVERALL]
        record = {"domains": {domain: each.metrics for domain, each in by_domain.items()}}
        record |= {"scores": found.metrics, "notes": found.notes}
        return Scores(found.metrics, domain_table(by_domain), record)

    rows = predict_all(run, loader, caption, "caption")
    if not run.is_main:
        return {}
    settings = {"prefix": prefix, "image_resolution": config.image_resolution, **config.decoding}
    return conclude(run, name, rows, score, settings, "captions")


def score_domains(
    results: Sequence[Mapping[str, Any]],
    references: Captions,
    domains: Mapping[ImageId, str],
    metrics: Collection[str] = METRICS,
) -> dict[str, CaptionScores]:
    """Scores NoCaps: the images in, near and out of COCO's domain, then all images.

    Each domain is scored as a data set of its own, as on the challenge's server. CIDEr weighs words by their
    frequency among the references, so the overall CIDEr is not the mean over the domains.

    Args:
        results: one {"image_id", "caption"} for each image of `references`.
        references: the reference captions of each image.
        domains: the domain of each image of `references`.
        metrics: which of `METRICS` to compute.

    Returns:
        By domain in the order of `DOMAINS`, without empty domains; last, `overall`.

    Raises:
        UserError: images without a result, twice in the results or without references; unknown metric.
    """
    groups = {domain: [image for image in references if domains[image] == domain] for domain in DOMAINS}
    groups = {domain: images for domain, images in groups.items() if images}
    return score_groups(results, references, groups | {OVERALL: list(references)}, metrics)


def domain_table(scores: Mapping[str, CaptionScores]) -> str:
    """The scores with a column for each domain; then the notes."""
    names = list(dict.fromkeys(name for column in scores.values() for name in column.metrics))
    lines = [f"{'':8s}" + "".join(f" {domain:>11s}" for domain in scores)]
    for name in names:
        # A metric whose program failed on one domain has no score there.
        cells = (f"{s.metrics[name]:.4f}" if name in s.metrics else "" for s in scores.values())
        lines.append(f"{name:8s}" + "".join(f" {cell:>11s}" for cell in cells))
    notes = dict.fromkeys(note for column in scores.values() for note in column.notes)
    return "\n".join(lines + [f"note: {note}" for note in notes])
