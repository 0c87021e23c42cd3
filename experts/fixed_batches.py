"""Batches of one fixed size, so that an image's output does not depend on which others are labelled with it.

A library's convolution takes another algorithm, which rounds differently, for another batch size. With one
size, a run that was stopped and started again writes the bytes of one that was not.
"""

from collections.abc import Iterator

import torch
from torch import Tensor


def fixed_chunks(inputs: list[Tensor], size: int) -> Iterator[tuple[Tensor, int]]:
    """Stacks tensors of one shape, always as many.

    Args:
        inputs: tensors of the same shape.
        size: how many to a chunk.

    Yields:
        A chunk (size, ...), the last one filled up with zeros, and how many of its rows are inputs.
    """
    for start in range(0, len(inputs), size):
        chunk = inputs[start : start + size]
        filled = chunk + [torch.zeros_like(chunk[0])] * (size - len(chunk))
        yield torch.stack(filled), len(chunk)
