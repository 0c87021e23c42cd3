"""Images as the networks see them."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.transforms import picture_bytes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ChannelOrder = Literal["bgr", "rgb"]


def squash(image: Image.Image, side: int, resampling: Image.Resampling = Image.Resampling.BILINEAR) -> Tensor:
    """An RGB image -> uint8 (3, side, side), whatever its aspect ratio."""
    return picture_bytes(image.resize((side, side), resampling))


def keep_shape(image: Image.Image, order: ChannelOrder, short: int = 479, long: int = 480) -> Tensor:
    """An RGB image -> uint8 (3, h, w), the shorter side `short`, or if it is too long the longer side `long`.

    Sizes are rounded as by `torchvision.transforms.Resize(short, max_size=long)`, which made the labels of the
    released models, but no side becomes 0.
    """
    width, height = image.size
    resized_long = short * max(width, height) // min(width, height)
    if resized_long > long:
        short, resized_long = max(1, long * short // resized_long), long
    size = (short, resized_long) if width <= height else (resized_long, short)
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return torch.from_numpy((pixels[::-1] if order == "bgr" else pixels).copy())


def normalise(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """(..., 3, h, w) -> float32, minus the mean of each channel, over its standard deviation."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (images - mean) / std
