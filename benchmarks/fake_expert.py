"""An expert that stands in for a network of a known cost: surface normals made of the image's colours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target

_SIDE = 480
_MATRIX = torch.ones(512, 512)


@dataclass(frozen=True)
class Options:
    """What it costs.

    Attributes:
        seconds: an image.
        elsewhere: as a network on an accelerator, which leaves the processor alone.
    """

    __pydantic_config__ = STRICT
    seconds: float = 0.2
    elsewhere: bool = False


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """It has none."""
    return []


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "StandIn":
    """The expert; how fast the machine is, is measured once."""
    return StandIn(options)


@cache
def _seconds_of_product() -> float:
    began = time.perf_counter()
    for _ in range(100):
        _MATRIX @ _MATRIX
    return (time.perf_counter() - began) / 100


class StandIn:
    """See `experts.base.Expert`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.products = round(options.seconds / _seconds_of_product())

    @staticmethod
    def prepare(image: Image.Image) -> Tensor:
        """An RGB image -> uint8 (3, 480, 480)."""
        return pil_to_tensor(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))

    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        """Spends the time; gives the images in 0..1, (3, 480, 480)."""
        for _ in inputs:
            if self.options.elsewhere:
                time.sleep(self.options.seconds)
            else:
                for _ in range(self.products):
                    _MATRIX @ _MATRIX
        return [pixels / 255 for pixels in inputs]

    def decode(self, raw: Tensor, target: Target) -> dict[str, Label]:
        """What the dense experts do: to the image's size, to bytes."""
        resized = F.interpolate(raw[None], target.size, mode="bilinear", align_corners=True)[0]
        return {"normal": Label((resized * 255).byte().permute(1, 2, 0).numpy())}
