"""The backend `unidet`: the detector that made the released models' labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target
from experts.detection.detections import Detections
from experts.detection.label import InstanceLabels, Masks
from experts.detection.network import UniDet, normalise
from experts.detection.unidet_checkpoint import load_network
from experts.resize import shortest_side

FILE = "Unified_learned_OCIM_RS200_6x+2x.pth"


@dataclass(frozen=True)
class Options:
    """What a config may set.

    Attributes:
        channel_order: the colours as the network gets them. `bgr` is what the released models' labels
            were made with, `rgb` is what the network's mean and deviation are of.
        masks: how a box is cut out of another, see `experts/detection/label.py`.
    """

    __pydantic_config__ = STRICT
    channel_order: Literal["bgr", "rgb"] = "bgr"
    masks: Masks = "signed"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released weights."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "UniDetExpert":
    """The expert with the released weights."""
    return UniDetExpert(load_network(setting.weights / FILE), options, setting)


def prepare(image: Image.Image, channel_order: str) -> Tensor:
    """An RGB image -> uint8 (3, h, w), its channels in the given order."""
    pixels = np.asarray(shortest_side(image)).transpose(2, 0, 1)
    return torch.from_numpy((pixels[::-1] if channel_order == "bgr" else pixels).copy())


class UniDetExpert:
    """Labels with a `UniDet`; see `experts.base.Expert`."""

    def __init__(self, network: UniDet, options: Options, setting: RuntimeConfig) -> None:
        self.network = network.to(setting.device, setting.dtype)
        self.setting = setting
        self.prepare = partial(prepare, channel_order=options.channel_order)
        self.label = InstanceLabels(options.masks)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Detections]:
        """The objects of each image."""
        normalised = [normalise(image.to(self.setting.device)).to(self.setting.dtype) for image in inputs]
        found: dict[int, Detections] = {}
        for indices in self._batches([image.shape for image in normalised]):
            images = torch.stack([normalised[index] for index in indices])
            sizes = [tuple(inputs[index].shape[1:]) for index in indices]
            found |= dict(zip(indices, self.network(images, sizes), strict=True))
        return [found[index] for index in range(len(inputs))]

    def _batches(self, shapes: list[torch.Size]) -> list[list[int]]:
        """Images that may run together: of one padded size, since the padding changes what is seen.

        On a CPU each runs alone, which costs nothing there: its numbers are then the same to the last bit
        whatever it is run with.
        """
        if self.setting.device.type == "cpu":
            return [[index] for index in range(len(shapes))]
        return [[i for i, shape in enumerate(shapes) if shape == one] for one in dict.fromkeys(shapes)]

    def decode(self, raw: Detections, target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {"obj_detection": self.label(raw, target)}
