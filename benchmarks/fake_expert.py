"""An expert of known cost, whose surface normals are the image's colours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target
from experts.batches import squash

_SIDE = 480
_MATRIX = torch.ones(512, 512)


@dataclass(frozen=True)
class Options:
    """The cost of an image.

    Attributes:
        seconds: its time.
        elsewhere: sleep, as while an accelerator computes.
    """

    __pydantic_config__ = STRICT
    seconds: float = 0.2
    elsewhere: bool = False


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """None."""
    return []


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "FakeExpert":
    """The expert; the speed of the machine is measured once."""
    return FakeExpert(options)


@cache
def _seconds_of_product() -> float:
    began = time.perf_counter()
    for _ in range(100):
        _MATRIX @ _MATRIX
    return (time.perf_counter() - began) / 100


class FakeExpert:
    """See `experts.base.Expert`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.products = round(options.seconds / _seconds_of_product())

    @staticmethod
    def prepare(image: Image.Image) -> Tensor:
        """An RGB image -> uint8 (3, 480, 480)."""
        return squash(image, _SIDE)

    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        """Spends the time; returns the images in 0..1, (3, 480, 480)."""
        for _ in inputs:
            if self.options.elsewhere:
                time.sleep(self.options.seconds)
            else:
                for _ in range(self.products):
                    _MATRIX @ _MATRIX
        return [pixels / 255 for pixels in inputs]

    def decode(self, raw: Tensor, target: Target) -> dict[str, Label]:
        """As the dense experts: resizes to the image's size, turns into bytes."""
        resized = F.interpolate(raw[None], target.size, mode="bilinear", align_corners=True)[0]
        return {"normal": Label((resized * 255).byte().permute(1, 2, 0).numpy())}
