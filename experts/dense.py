"""What the experts of a quantity per pixel share: the square input, the forward pass, maps to bytes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dataset.transforms import picture_bytes
from experts.base import Label, RuntimeConfig, Target
from experts.fixed_batches import fixed_chunks

SIDE = 480  # images are squashed to SIDE x SIDE
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHUNK = 8  # images per forward on an accelerator; a CPU gains nothing from more than one


def squash(image: Image.Image, side: int, resampling: Image.Resampling) -> Tensor:
    """An RGB image -> uint8 (3, side, side), whatever its aspect ratio."""
    return picture_bytes(image.resize((side, side), resampling))


def channels(values: tuple[float, float, float], like: Tensor) -> Tensor:
    """A number per channel, as (3, 1, 1) on a tensor's device."""
    return torch.tensor(values, device=like.device)[:, None, None]


class DenseExpert(ABC):
    """An expert of one modality with a quantity per pixel; see `experts.base.Expert`.

    A backend says what its network sees (`forward`) and what a label is made of (`label`).

    Attributes:
        modality: whose labels it makes.
    """

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
        """Runs the network.

        Args:
            images: RGB in 0..1, (b, 3, side, side).

        Returns:
            The raw output, (b, ...).
        """

    @abstractmethod
    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Makes the bytes of a label.

        Args:
            raw: the output for one image, float32 on the CPU.
            size: the label's height and width.
        """

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        """Per image, the network's output in float32."""
        device, dtype = self.setting.device, self.setting.dtype
        raw: list[Tensor] = []
        for images, count in fixed_chunks(inputs, 1 if device.type == "cpu" else CHUNK):
            # Not the weights are cast: statistics of batch norms may be too large for float16.
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
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
