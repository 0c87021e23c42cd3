"""Captions for a whole data set, gathered over the processes; their file; their scores."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from torch import nn
from tqdm import tqdm

from dataset.files import write_json
from helpers.caption_metrics import CaptionScores
from helpers.config import CaptionConfig, config_as_json
from model.captioning import PrismerCaption


@torch.inference_mode()
def generate_captions(
    model: PrismerCaption,
    prepare: nn.Module,
    loader: Iterable[dict[str, Any] | None],
    accelerator: Accelerator,
    config: CaptionConfig,
) -> list[dict[str, Any]]:
    """Captions every sample of a loader once.

    Args:
        model: not wrapped by DDP.
        prepare: a `PrepareInputs` on the model's device.
        loader: batches of this process; None stands for a batch of unreadable images.
        accelerator: to gather over processes.
        config: prefix and decoding settings.

    Returns:
        On every process, `{"image_id", "caption"}` for each image of the data set, in its order.
    """
    model.eval()
    captions: dict[int, dict[str, Any]] = {}
    for batch in tqdm(loader, desc="caption", disable=not accelerator.is_main_process, leave=False):
        if batch is None:
            continue
        experts = prepare(send_to_device(batch, accelerator.device, non_blocking=True))
        with accelerator.autocast():
            texts = model.generate(experts, config.prefix, **config.decoding)
        for index, image_id, text in zip(batch["index"].tolist(), batch["image_id"], texts, strict=True):
            captions[index] = {"image_id": image_id, "caption": as_sentence(text)}
    # The sampler may have read a few samples twice to give every process as many: the index keeps one.
    gathered = dict(gather_object(list(captions.items())))
    return [gathered[index] for index in sorted(gathered)]


def as_sentence(text: str) -> str:
    """Generated captions are written capitalised, with a full stop."""
    return text.strip().capitalize() + "."


def write_results(
    folder: Path,
    name: str,
    results: list[dict[str, Any]],
    config: CaptionConfig,
    scores: CaptionScores | None,
) -> None:
    """`results/<name>.json` for the evaluation servers; scores and the settings behind them beside it."""
    write_json(folder / "results" / f"{name}.json", results)
    record = {"config": config_as_json(config), "images": len(results)}
    if scores is not None:
        record |= {"scores": scores.metrics, "notes": scores.notes}
    write_json(folder / "results" / f"{name}_scores.json", record, indent=2)


def epoch_table(metrics: Path) -> str:
    """All epochs of a run, resumed ones too, as lines to print: loss and scores."""
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [record for record in records if "train_loss" in record]
    names = [name for name in epochs[-1] if name not in ("epoch", "train_seconds")]
    lines = ["epoch " + " ".join(f"{name:>10}" for name in names)]
    for record in epochs:
        values = (f"{record[name]:10.4f}" if name in record else f"{'':10}" for name in names)
        lines.append(f"{record['epoch']:5d} " + " ".join(values))
    return "\n".join(lines)


def decoding_settings(config: CaptionConfig) -> str:
    """What a score depends on beside the weights, in one line."""
    settings = {"prefix": config.prefix, "image_resolution": config.image_resolution, **config.decoding}
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
