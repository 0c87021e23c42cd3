"""Evaluating captions: generate them for a test set, score them, write and print both."""

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset
from dataset.text import as_sentence
from helpers.evaluation import Results, predict_all, settings_line, write_results
from helpers.metrics.captions import score_captions
from helpers.metrics.nocaps import OVERALL, domain_table, score_domains
from helpers.session import Session
from helpers.task_configs import DecodingConfig
from model.inputs import Experts


def generate_captions(
    session: Session[Any, DecodingConfig], loader: Iterable[dict[str, Any] | None], prefix: str
) -> Results:
    """Captions every image of a loader: `{"image_id", "caption"}` for each, see `predict_all`."""

    def caption(experts: Experts, batch: dict[str, Any]) -> Results:
        texts = session.prismer.generate(experts, prefix, **session.config.decoding)
        return [
            {"image_id": image_id, "caption": as_sentence(text)}
            for image_id, text in zip(batch["image_id"], texts, strict=True)
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
    results = generate_captions(session, loader, prefix)
    if not session.is_main:
        return {}
    config, record, metrics = session.config, {}, {}
    table = "no references are given, so no scores"
    references = dataset.references()
    if references and results:
        # Without the images that could not be read; the loader has named them.
        captioned = {row["image_id"]: references[row["image_id"]] for row in results}
        if dataset.domains:
            by_domain = score_domains(results, captioned, dataset.domains, config.metrics)
            scores, table = by_domain[OVERALL], domain_table(by_domain)
            record = {"domains": {domain: found.metrics for domain, found in by_domain.items()}}
        else:
            scores = score_captions(results, captioned, config.metrics)
            table = scores.table()
        metrics = scores.metrics
        record |= {"scores": metrics, "notes": scores.notes}
    path = write_results(session.folder, name, results, config, record)
    settings = {"prefix": prefix, "image_resolution": config.image_resolution, **config.decoding}
    print(f"\n{name}: {len(results)} captions in {path} ({settings_line(settings)})")
    print(table, flush=True)
    return metrics
