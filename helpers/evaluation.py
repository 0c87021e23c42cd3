"""Predictions for a whole data set, gathered over the processes; their files; their scores."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object
from tqdm import tqdm

from dataset.files import numbered, write_json
from dataset.joined import JoinedDataset
from dataset.samples import ImageLabelDataset
from helpers.config import config_as_json
from helpers.parallel.sharding import gathered
from helpers.session import Session
from helpers.task_configs import TaskConfig
from model.inputs import Experts

T = TypeVar("T")
Results = list[dict[str, Any]]


@torch.inference_mode()
def predict_all(
    session: Session,
    loader: Iterable[dict[str, Any] | None],
    predict: Callable[[Experts, dict[str, Any]], Sequence[T]],
    title: str,
) -> list[T]:
    """Predicts something for every sample of a loader once.

    Args:
        session: its model is put into eval mode.
        loader: batches of this process; None stands for a batch of unreadable images.
        predict: takes the encoder's input and the batch to a prediction for each of its samples.
        title: of the progress bar.

    Returns:
        On every process, the predictions for all samples of the data set that could be read, in its order.
    """
    session.model.eval()
    found: dict[int, T] = {}
    with gathered(session.model, session.args.sharding):
        for batch in tqdm(loader, desc=title, disable=not session.is_main, leave=False):
            if batch is None:
                continue
            with session.accelerator.autocast():
                predictions = predict(session.inputs(batch), batch)
            found |= dict(zip(batch["index"].tolist(), predictions, strict=True))
    # The sampler may have read a few samples twice to give every process as many: the index keeps one.
    everything = dict(gather_object(list(found.items())))
    return [everything[index] for index in sorted(everything)]


def write_results(
    folder: Path,
    name: str,
    results: Sequence[Any],
    config: TaskConfig,
    scores: dict[str, Any],
    ranking: Sequence[Any] | None = None,
) -> Path:
    """Writes `results/<name>.json`; scores and the settings behind them, and perhaps rankings, beside it.

    Results that are there already are kept: the new ones get a number.

    Returns:
        The file of the results.
    """
    path = numbered(folder / "results" / f"{name}.json")
    write_json(path, results)
    record = {"config": config_as_json(config), "results": len(results), **scores}
    write_json(path.with_name(f"{path.stem}_scores.json"), record, indent=2)
    if ranking is not None:
        write_json(path.with_name(f"{path.stem}_ranking.json"), ranking)
    return path


# In each record, and not the table's subject.
_NO_COLUMN = {
    "epoch",
    "step",
    "lr",
    "train_seconds",
    "step_seconds",
    "data_seconds",
    "gpu_peak_gib",
    "rss_gib",
}


def epoch_table(metrics: Path) -> str:
    """All epochs of a run, resumed ones too, as lines to print: loss and scores."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [record for record in records if "train_loss" in record]
    names = list(dict.fromkeys(name for record in epochs for name in record))
    names = [name for name in names if name not in _NO_COLUMN]
    lines = ["epoch " + " ".join(f"{name:>10}" for name in names)]
    for record in epochs:
        values = (f"{record[name]:10.4f}" if name in record else f"{'':10}" for name in names)
        lines.append(f"{record['epoch']:5d} " + " ".join(values))
    return "\n".join(lines)


def settings_line(settings: dict[str, Any]) -> str:
    """What a score depends on beside the weights, in one line."""
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())


def warn_of_overlap(train: ImageLabelDataset | JoinedDataset, test: ImageLabelDataset) -> None:
    """Says so if images to be tested on are trained on as well: the scores would be too good."""
    both = set(train.image_keys()) & set(test.image_keys())
    if both:
        print(f"warning: {len(both)} test images are in the training list, too (first: {min(both)})")
