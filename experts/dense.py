"""The base of experts that predict a quantity for each pixel: a square input, one forward, a map of bytes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from experts.base import Label, RuntimeConfig, Target
from experts.batches import fixed_chunks, squash

SIDE = 480  # images are resized to SIDE x SIDE
CHUNK = 8  # images per forward on an accelerator


class DenseExpert(ABC):
    """An expert of one modality; see `experts.base.Expert`."""

    modality: str

    def __init__(
        self,
        network: nn.Module,
        setting: RuntimeConfig,
        side: int = SIDE,
        resampling: Image.Resampling = Image.Resampling.BILINEAR,
    ) -> None:
        self.network = network.to(setting.device).eval()
        self.setting = setting
        self.prepare: Callable[[Image.Image], Tensor] = partial(squash, side=side, resampling=resampling)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """RGB in 0..1, (b, 3, side, side) -> the network's output (b, ...)."""

    @abstractmethod
    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        """The output for an image, float32 -> the bytes of its label, of height and width `size`."""

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        """The network's output for each image, float32."""
        device = self.setting.device
        raw: list[Tensor] = []
        for images, count in fixed_chunks(inputs, 1 if device.type == "cpu" else CHUNK):
            with self.setting.autocast():
                output = self.forward(images.to(device) / 255)
            raw += output[:count].float().cpu()
        return raw

    def decode(self, raw: Tensor, target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {self.modality: Label(self.label(raw, target.size))}


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (c, h, w) -> (c, *size), bilinear, corners aligned."""
    return F.interpolate(values[None], size, mode="bilinear", align_corners=True)[0]


def to_bytes(values: Tensor) -> np.ndarray:
    """0..1 -> 0..255, truncated."""
    return (values * 255).byte().numpy()
