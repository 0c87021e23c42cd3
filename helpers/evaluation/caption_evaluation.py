"""Evaluating captions: generate them for a test set, write them, score them, print both."""

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset
from dataset.text import as_sentence
from helpers.evaluation.caption_metrics import score_captions
from helpers.evaluation.nocaps import OVERALL, domain_table, score_domains
from helpers.evaluation.prediction import Results, Scores, conclude, predict_all
from helpers.training.run import Session
from helpers.training.settings import DecodingConfig
from model.inputs import Inputs


def generate_captions(
    session: Session[Any, DecodingConfig], loader: Iterable[dict[str, Any] | None], prefix: str
) -> Results:
    """Captions every image of a loader: `{"image_id", "caption", "score"}` for each, see `predict_all`."""

    def caption(inputs: Inputs, batch: dict[str, Any]) -> Results:
        decoding = session.config.decoding
        texts, scores = session.prismer.generate(inputs, prefix, **decoding, return_scores=True)
        return [
            {"image_id": image_id, "caption": as_sentence(text), "score": score}
            for image_id, text, score in zip(batch["image_id"], texts, scores, strict=True)
        ]

    return predict_all(session, loader, caption, "caption")


def evaluate_captions(
    session: Session[Any, DecodingConfig], loader: DataLoader, name: str, prefix: str
) -> dict[str, float]:
    """Captions a test set, writes the outcome and prints its scores.

    Args:
        session: with its model built.
        loader: of a `CaptionDataset`.
        name: of the files below `results/`.
        prefix: what the captions begin with.

    Returns:
        Scores by metric; none if there are no references, or on other processes than the main one.
    """
    dataset: CaptionDataset = loader.dataset
    rows = generate_captions(session, loader, prefix)
    if not session.is_main:
        return {}
    config = session.config

    def score(results: Results) -> Scores | None:
        references = dataset.references()
        if not references:
            return None
        # Without the images that could not be read; the loader has named them.
        captioned = {row["image_id"]: references[row["image_id"]] for row in results}
        if not dataset.domains:
            found = score_captions(results, captioned, config.metrics)
            return Scores(found.metrics, found.table(), {"scores": found.metrics, "notes": found.notes})
        by_domain = score_domains(results, captioned, dataset.domains, config.metrics)
        found = by_domain[OVERALL]
        record = {"domains": {domain: each.metrics for domain, each in by_domain.items()}}
        record |= {"scores": found.metrics, "notes": found.notes}
        return Scores(found.metrics, domain_table(by_domain), record)

    settings = {"prefix": prefix, "image_resolution": config.image_resolution, **config.decoding}
    return conclude(session, name, rows, score, settings, "captions")
