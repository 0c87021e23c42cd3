"""Predicting a test set on all processes, writing the results, scoring them."""

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
from helpers.training.run import Run
from model.inputs import Inputs
from model.prismer import CutTexts

T = TypeVar("T")
Results = list[dict[str, Any]]


@torch.inference_mode()
def predict_all(
    run: Run,
    loader: Iterable[dict[str, Any] | None],
    predict: Callable[[Inputs, dict[str, Any]], Sequence[T]],
    title: str,
) -> list[T]:
    """Predicts every sample of a loader once.

    Args:
        run: its model is put into eval mode.
        loader: batches of this process; None stands for a batch of unreadable images.
        predict: maps the model's input and the batch to one prediction a sample.
        title: of the progress bar.

    Returns:
        On every process, the predictions for all readable samples, in the order of the data set.
    """
    run.model.eval()
    found: dict[int, T] = {}
    with gathered(run.model, run.args.sharding):
        for batch in progress_bar(loader, desc=title, disable=not run.is_main, leave=False):
            if batch is None:
                continue
            with run.accelerator.autocast():
                predictions = predict(run.inputs(batch), batch)
            found |= dict(zip(batch["index"].tolist(), predictions, strict=True))
    # The sampler may repeat samples, to give each process as many; the index keeps one of them.
    everything = dict(gather_object(list(found.items())))
    return [everything[index] for index in sorted(everything)]


@dataclass(frozen=True)
class Scores:
    """A task's scores.

    Attributes:
        values: by name; scores that could not be computed are left out.
        table: the scores as lines to print.
        record: for the file of scores.
    """

    values: dict[str, float]
    table: str
    record: dict[str, Any]


def report_results(
    run: Run,
    name: str,
    rows: Results,
    score: Callable[[Results], Scores | None],
    settings: dict[str, Any],
    things: str,
) -> dict[str, float]:
    """Writes the results of an evaluation, then scores them and prints both; for the main process.

    The results are written first, so a failing scorer does not lose them; nor does it end a training run.
    Existing results are kept: the new files get a number.

    Args:
        run: of the run.
        name: of the file of results below `results/`; scores and rankings go beside it.
        rows: the results. Each also has a `score`, which is not written; a row whose score is not finite is
            left out. A `ranking` goes into another file.
        score: scores the results; None: there are no references.
        settings: of the evaluation, printed and written.
        things: "captions" or "answers", for messages.

    Returns:
        Scores by name, without those that could not be computed.

    Raises:
        UserError: there are no results; or, with `--evaluate`, they cannot be scored.
    """
    finite = [row for row in rows if isfinite(row["score"])]
    results = [{key: row[key] for key in row if key not in ("score", "ranking")} for row in finite]
    path = numbered(run.folder / "results" / f"{name}.json", beside=("_scores", "_ranking", "_settings"))
    write_json(path, results)
    if run.args.evaluate:
        text = settings_text(run.config, run.args)
        write_text(path.with_name(f"{path.stem}_settings.yaml"), text)
    if any("ranking" in row for row in finite):
        write_json(path.with_name(f"{path.stem}_ranking.json"), finite)
    in_line = ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
    print(f"\n{name}: {len(results)} {things} in {path} ({in_line})")
    if lost := len(rows) - len(finite):
        print(f"warning: {lost} {things} left out: the network's output is not finite", file=sys.stderr)
    if not results:
        reason = "the network's output is not finite" if lost else "no image could be read"
        raise UserError(f"{path}: no {things}: {reason}")
    try:
        scores = score(results) or Scores({}, "no references are given, so no scores", {})
    except Exception as error:  # scorers are third-party programs, which may fail in any way
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__} "
        failure = f"{path} is written, but cannot be scored: {kind}{one_line(error)}"
        if run.args.evaluate:
            raise UserError(failure) from None
        scores = Scores({}, f"warning: {failure}", {"notes": [failure]})
    record = {"config": config_as_json(run.config), "results": len(results), "settings": settings}
    write_json(path.with_name(f"{path.stem}_scores.json"), record | scores.record, indent=2)
    print(scores.table, flush=True)
    return scores.values


# Fields of metrics.jsonl that are neither loss nor score.
_NO_COLUMN = {"epoch", "step", "lr", "train_seconds", "step_seconds", "data_seconds", "gpu_peak_gib", "rss_gib"}


def epoch_table(metrics: Path) -> str:
    """Loss and scores of all epochs of a run, resumed ones included, as lines to print."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [record for record in records if "train_loss" in record]
    names = dict.fromkeys(name for record in epochs for name in record if name not in _NO_COLUMN)
    lines = ["epoch " + " ".join(f"{name:>10}" for name in names)]
    for record in epochs:
        found = (record.get(name) for name in names)
        values = (f"{'':10}" if value is None else f"{value:10.4f}" for value in found)
        lines.append(f"{record['epoch']:5d} " + " ".join(values))
    return "\n".join(lines)


def warn_of_overlap(train: ImageLabelDataset | ConcatDataset, test: ImageLabelDataset) -> None:
    """Warns if test images are also in the training list: the scores would be too good."""
    both = set(train.image_keys()) & set(test.image_keys())
    if both:
        print(f"warning: {len(both)} test images are in the training list, too (first: {min(both)})")


def say_cut_texts(run: Run, split: str) -> None:
    """Prints, once a split, how many texts were longer than the model reads; all processes call it.

    Args:
        run: its model has read the texts.
        split: `training` or `test`.
    """
    counts: list[CutTexts] = gather_object([run.prismer.cut_texts])
    run.prismer.cut_texts = CutTexts()
    read, cut = sum(each.read for each in counts), sum(each.cut for each in counts)
    if cut and run.is_main and split not in run.said_cut:
        run.said_cut.add(split)
        limit, texts = counts[0].limit, run.prismer.texts
        print(f"{cut} of {read} {split} {texts} have more than {limit} tokens: the rest is not read")
