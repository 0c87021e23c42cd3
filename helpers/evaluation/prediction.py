"""Predictions for a whole data set, gathered over the processes; their files; their scores."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object

from common.errors import UserError, one_line
from common.files import numbered, write_json, write_text
from common.progress import progress_bar
from common.yaml_config import config_as_json, settings_text
from dataset.concat import ConcatDataset
from dataset.samples import ImageLabelDataset
from helpers.training.distribution.sharding import gathered
from helpers.training.run import Session
from model.inputs import Inputs

T = TypeVar("T")
Results = list[dict[str, Any]]


@torch.inference_mode()
def predict_all(
    session: Session,
    loader: Iterable[dict[str, Any] | None],
    predict: Callable[[Inputs, dict[str, Any]], Sequence[T]],
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
        for batch in progress_bar(loader, desc=title, disable=not session.is_main, leave=False):
            if batch is None:
                continue
            with session.accelerator.autocast():
                predictions = predict(session.inputs(batch), batch)
            found |= dict(zip(batch["index"].tolist(), predictions, strict=True))
    # The sampler may have read a few samples twice to give every process as many: the index keeps one.
    everything = dict(gather_object(list(found.items())))
    return [everything[index] for index in sorted(everything)]


_NO_RESULT = ("score", "ranking")  # of what is known of a prediction


@dataclass(frozen=True)
class Scores:
    """What a task's scorer found.

    Attributes:
        values: scores by name; those that could not be computed are left out.
        table: them as lines to print.
        record: what the file of scores says of them.
    """

    values: dict[str, float]
    table: str
    record: dict[str, Any]


def conclude(
    session: Session,
    name: str,
    rows: Results,
    score: Callable[[Results], Scores | None],
    settings: dict[str, Any],
    things: str,
) -> dict[str, float]:
    """Writes the results of an evaluation, then scores them and prints both; for the main process.

    The results are written first, so no scorer that fails loses them. It does not end a training run either.
    Results that are there already are kept: the new ones get a number.

    Args:
        session: of the run.
        name: of the file of results below `results/`; scores, and perhaps rankings, go beside it.
        rows: what the model said, and its `score`, which is not written. Where that is not finite, the
            network's output was no answer, and the row is left out. A `ranking` goes to another file.
        score: scores results; None: there is nothing to score them against.
        settings: what the scores depend on beside the weights, for print and file.
        things: what the results are: captions, answers.

    Returns:
        Scores by name, without those that could not be computed.

    Raises:
        UserError: there are no results; or, with `--evaluate`, they cannot be scored.
    """
    said = [row for row in rows if isfinite(row["score"])]
    results = [{key: row[key] for key in row if key not in _NO_RESULT} for row in said]
    path = numbered(session.folder / "results" / f"{name}.json", beside=("_scores", "_ranking", "_settings"))
    write_json(path, results)
    if session.args.evaluate:
        text = settings_text(session.config, session.args)
        write_text(path.with_name(f"{path.stem}_settings.yaml"), text)
    if any("ranking" in row for row in said):
        write_json(path.with_name(f"{path.stem}_ranking.json"), said)
    print(f"\n{name}: {len(results)} {things} in {path} ({_in_line(settings)})")
    if lost := len(rows) - len(said):
        print(f"warning: {lost} {things} left out: the network's output is not finite", file=sys.stderr)
    if not results:
        reason = "the network's output is not finite" if lost else "no image could be read"
        raise UserError(f"{path}: no {things}: {reason}")
    try:
        scores = score(results) or Scores({}, "no references are given, so no scores", {})
    except Exception as error:  # a scorer is not ours alone, and may fail in any way
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__} "
        failure = f"{path} is written, but cannot be scored: {kind}{one_line(error)}"
        if session.args.evaluate:
            raise UserError(failure) from None
        scores = Scores({}, f"warning: {failure}", {"notes": [failure]})
    record = {"config": config_as_json(session.config), "results": len(results), "settings": settings}
    write_json(path.with_name(f"{path.stem}_scores.json"), record | scores.record, indent=2)
    print(scores.table, flush=True)
    return scores.values


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
        found = (record.get(name) for name in names)
        values = (f"{'':10}" if value is None else f"{value:10.4f}" for value in found)
        lines.append(f"{record['epoch']:5d} " + " ".join(values))
    return "\n".join(lines)


def _in_line(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())


def warn_of_overlap(train: ImageLabelDataset | ConcatDataset, test: ImageLabelDataset) -> None:
    """Says so if images to be tested on are trained on as well: the scores would be too good."""
    both = set(train.image_keys()) & set(test.image_keys())
    if both:
        print(f"warning: {len(both)} test images are in the training list, too (first: {min(both)})")
