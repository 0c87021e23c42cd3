"""Images as networks see them: prepared, normalised and in batches.

The output for an image must not depend on the other images of its batch, not even in rounding, since a run that
was stopped must end with the same bytes. Libraries choose other algorithms for other batch sizes. So batches have
one fixed size, or a single image on a CPU, where larger batches save no time.
"""

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.transforms import picture_bytes

T = TypeVar("T")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ChannelOrder = Literal["bgr", "rgb"]


def squash(image: Image.Image, side: int, resampling: Image.Resampling = Image.Resampling.BILINEAR) -> Tensor:
    """An RGB image -> uint8 (3, side, side); the aspect ratio changes."""
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


def fixed_chunks(inputs: list[Tensor], size: int) -> Iterator[tuple[Tensor, int]]:
    """Stacks tensors of one shape in chunks of `size`.

    Yields:
        A chunk (size, ...), the last one padded with zeros, and the number of its rows that are inputs.
    """
    for start in range(0, len(inputs), size):
        chunk = inputs[start : start + size]
        filled = chunk + [torch.zeros_like(chunk[0])] * (size - len(chunk))
        yield torch.stack(filled), len(chunk)


def by_shape(inputs: list[Tensor], together: bool, run: Callable[[Tensor, list[int]], list[T]]) -> list[T]:
    """Runs images (3, h, w) of one shape together, or if `together` is False each alone.

    `run` takes a batch (b, 3, h, w) and the indices of its images, and returns a result for each image.
    """
    groups: dict[object, list[int]] = {}
    for index, pixels in enumerate(inputs):
        groups.setdefault(pixels.shape if together else index, []).append(index)
    results: dict[int, T] = {}
    for indices in groups.values():
        batch = torch.stack([inputs[index] for index in indices])
        results |= zip(indices, run(batch, indices), strict=True)
    return [results[index] for index in range(len(inputs))]
