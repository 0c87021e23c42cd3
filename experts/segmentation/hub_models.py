"""The backend `hub`: a Mask2Former or OneFormer of `transformers` for the classes of COCO or ADE20K."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    OneFormerConfig,
)

from common.errors import UserError
from common.validation import STRICT
from dataset.class_tables import class_names
from experts.base import RuntimeConfig
from experts.hub_networks import from_hub, load_checkpoint, local_files
from experts.segmentation.expert import UNUSED, Network, SegmentationExpert, on_device, run_queries
from model.modalities import MODALITIES

CHECKPOINTS = {
    "seg_coco": "facebook/mask2former-swin-large-coco-panoptic",
    "seg_ade": "facebook/mask2former-swin-large-ade-semantic",
}
_TASK = "the task is semantic"  # the text input of a OneFormer


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        checkpoint: a folder, or a name on the hub; None means that of the modality in `CHECKPOINTS`.
    """

    __pydantic_config__ = STRICT
    checkpoint: str | None = None


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The files of a folder."""
    found = local_files(options.checkpoint) if options.checkpoint else []
    return found and [*found, found[0].with_name("preprocessor_config.json")]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> SegmentationExpert:
    """The expert with the weights of the checkpoint.

    Raises:
        UserError: a checkpoint is missing, or has other classes than its modality; or the checkpoints of two
            modalities need images of different sizes.
    """
    networks, processors = {}, []
    for name in modalities:
        checkpoint = options.checkpoint or CHECKPOINTS[name]
        processors.append(load_checkpoint(AutoImageProcessor.from_pretrained, checkpoint))
        networks[name] = _load_network(checkpoint, name, setting)
    processor = processors[0]
    if any(other.to_dict() != processor.to_dict() for other in processors):
        raise UserError(f"{' and '.join(modalities)} see images of different sizes: run them one at a time")
    mean, std = (
        tuple(value / processor.rescale_factor for value in values)
        for values in (processor.image_mean, processor.image_std)
    )
    return SegmentationExpert(networks, partial(prepare, processor=processor), mean, std, setting.device)


def prepare(image: Image.Image, processor: Any) -> Tensor:
    """An RGB image -> uint8 (3, h, w), at the size of the checkpoint's images."""
    pixels = processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    return pixels[0].byte()


def class_order(theirs: Sequence[str], ours: Sequence[str]) -> list[int]:
    """Finds our classes among those of a checkpoint.

    Names are compared up to a comma. An unknown name may be another word for the class at the same place
    (COCO's "tree-merged" for "tree"), but at least half of the names must be known.

    Returns:
        For each of our class names, its index in theirs.

    Raises:
        UserError: the classes differ.
    """
    places = {_word(name): place for place, name in enumerate(theirs)}
    order = [places.get(_word(name)) for name in ours]
    named = sum(place is not None for place in order)
    filled = [index if place is None else place for index, place in enumerate(order)]
    if len(theirs) != len(ours) or sorted(filled) != list(range(len(ours))) or named < len(ours) / 2:
        raise UserError(f"{named} of its {len(theirs)} classes are among the {len(ours)} that are wanted")
    return filled


def _word(name: str) -> str:
    return name.split(",")[0].strip().lower()


def _load_network(checkpoint: str, modality: str, setting: RuntimeConfig) -> Network:
    network = from_hub(AutoModelForUniversalSegmentation, checkpoint, use_safetensors=None, unused=UNUSED)
    labels = network.config.id2label
    try:
        ours = class_names(MODALITIES[modality].classes)
        order = class_order([labels[index] for index in sorted(labels)], ours)
    except UserError as error:
        raise UserError(f"checkpoint '{checkpoint}': not one for {modality}: {error}") from None
    inputs = {}
    if isinstance(network.config, OneFormerConfig):
        tokenizer = load_checkpoint(AutoTokenizer.from_pretrained, checkpoint)
        length = network.config.task_seq_len
        task = tokenizer(_TASK, padding="max_length", max_length=length, return_tensors="pt")
        inputs["task_inputs"] = (task["input_ids"] * task["attention_mask"]).to(setting.device)  # (1, length)
    # The last class is "no object".
    columns = torch.tensor([*order, len(order)], device=setting.device)
    return partial(run_queries, on_device(network, setting), columns=columns, **inputs)
