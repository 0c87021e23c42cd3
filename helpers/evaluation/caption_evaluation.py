"""Evaluating captions: generate them for a test set, write them, score them, print the scores."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset
from dataset.reference_captions import DOMAINS, ImageId
from dataset.text import as_sentence
from helpers.evaluation.caption_metrics import METRICS, Captions, CaptionScores, score_groups, score_table
from helpers.evaluation.prediction import Results, Scores, predict_all, report_results
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
        scores = score_domains(results, captioned, dataset.domains, config.metrics)
        overall = scores[OVERALL]
        record = {"scores": overall.metrics, "notes": overall.notes}
        if dataset.domains:
            record["domains"] = {domain: each.metrics for domain, each in scores.items()}
        return Scores(overall.metrics, score_table(scores), record)

    rows = predict_all(run, loader, caption, "caption")
    if not run.is_main:
        return {}
    settings = {"prefix": prefix, "image_resolution": config.image_resolution, **config.decoding}
    return report_results(run, name, rows, score, settings, "captions")


def score_domains(
    results: Sequence[Mapping[str, Any]],
    references: Captions,
    domains: Mapping[ImageId, str] | None,
    metrics: Collection[str] = METRICS,
) -> dict[str, CaptionScores]:
    """Scores all images; of NoCaps, before that those in, near and out of COCO's domain.

    Each domain is scored as a data set of its own, as on the challenge's server. CIDEr weighs words by their
    frequency among the references, so the overall CIDEr is not the mean over the domains.

    Args:
        results: one {"image_id", "caption"} for each image of `references`.
        references: the reference captions of each image.
        domains: the domain of each image of `references`; None: there are no domains.
        metrics: which of `METRICS` to compute.

    Returns:
        By domain in the order of `DOMAINS`, without empty domains; last, `overall`.

    Raises:
        UserError: images without a result, twice in the results or without references; unknown metric.
    """
    groups: dict[str, Collection[ImageId]] = {}
    for domain in DOMAINS if domains else ():
        if images := [image for image in references if domains[image] == domain]:
            groups[domain] = images
    return score_groups(results, references, groups | {OVERALL: references}, metrics)
