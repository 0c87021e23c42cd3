"""Batches in which the output of an image does not depend on the other images, not even in rounding.

For another batch size, a library may choose another algorithm. A run that was stopped must end with the same
bytes, so batches have one fixed size, or a single image on a CPU, where larger ones save no time.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


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
