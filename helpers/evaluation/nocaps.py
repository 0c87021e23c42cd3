"""NoCaps: scores in, near and out of the domain of COCO, and of all images."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dataset.ground_truth import DOMAINS, ImageId
from helpers.evaluation.caption_metrics import METRICS, Captions, CaptionScores, score_groups

OVERALL = "overall"


def score_domains(
    results: Sequence[Mapping[str, Any]],
    references: Captions,
    domains: Mapping[ImageId, str],
    metrics: Collection[str] = METRICS,
) -> dict[str, CaptionScores]:
    """Scores the images of each domain, then all.

    As on the challenge's server each domain is scored as a data set of its own: the overall CIDEr, for which
    words are as rare as they are among all references, is not the mean of those of the domains.

    Args:
        results: one {"image_id", "caption"} for each image of `references`.
        references: the reference captions of each image.
        domains: the domain of each image of `references`.
        metrics: which of `METRICS` to compute.

    Returns:
        By domain in the order of `DOMAINS`, without those that have no images; last, `overall`.

    Raises:
        UserError: images without a result, twice in the results or without references; unknown metric.
    """
    groups: dict[str, list[ImageId]] = {}
    for domain in DOMAINS:
        if images := [image for image in references if domains[image] == domain]:
            groups[domain] = images
    return score_groups(results, references, groups | {OVERALL: list(references)}, metrics)


def domain_table(scores: Mapping[str, CaptionScores]) -> str:
    """What `score_domains` found, a column for each domain; then the notes."""
    names = list(dict.fromkeys(name for column in scores.values() for name in column.metrics))
    lines = [f"{'':8s}" + "".join(f" {domain:>11s}" for domain in scores)]
    for name in names:
        # A metric whose program failed on one domain has no score there.
        cells = (f"{s.metrics[name]:.4f}" if name in s.metrics else "" for s in scores.values())
        lines.append(f"{name:8s}" + "".join(f" {cell:>11s}" for cell in cells))
    notes = dict.fromkeys(note for column in scores.values() for note in column.notes)
    return "\n".join(lines + [f"note: {note}" for note in notes])
