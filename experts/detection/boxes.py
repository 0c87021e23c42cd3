"""Boxes (x0, y0, x1, y1) in pixels: anchors, and boxes moved by a network."""

import math

import torch
from torch import Tensor

_MAX_LOG_SCALE = math.log(1000 / 16)  # the greatest growth of a box


def cell_anchors(size: float, ratios: tuple[float, ...], octaves: int) -> Tensor:
    """The anchors around the origin, (octaves * ratios, 4), by size and then by ratio.

    Args:
        size: side of the smallest square anchor; there are `octaves` sizes below its double.
        ratios: height over width.
        octaves: sizes per doubling.
    """
    shapes = []
    for octave in range(octaves):
        side = size * 2 ** (octave / octaves)
        for ratio in ratios:
            width = side / math.sqrt(ratio)
            shapes.append((width, width * ratio))
    half = torch.tensor(shapes) / 2  # (anchors, 2)
    return torch.cat([-half, half], dim=1)


def grid_anchors(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """The anchors of a cell at the top left corner of each cell of a grid, (height * width * anchors, 4)."""
    y = torch.arange(height, device=cell.device, dtype=cell.dtype) * stride
    x = torch.arange(width, device=cell.device, dtype=cell.dtype) * stride
    corners = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)  # (h, w, 2)
    shift = corners.repeat(1, 1, 2)[:, :, None]  # (h, w, 1, 4)
    return (shift + cell).flatten(0, 2)


def move(boxes: Tensor, deltas: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Moves and scales boxes.

    Args:
        boxes: (n, 4).
        deltas: (n, 4), shift of the centre in widths and heights, logarithm of the scales.
        weights: divisors of the deltas.
    """
    x0, y0, x1, y1 = boxes.unbind(1)
    width, height = x1 - x0, y1 - y0
    dx, dy, dw, dh = (deltas / deltas.new_tensor(weights)).unbind(1)
    x, y = x0 + 0.5 * width + dx * width, y0 + 0.5 * height + dy * height
    half_width = 0.5 * width * dw.clamp(max=_MAX_LOG_SCALE).exp()
    half_height = 0.5 * height * dh.clamp(max=_MAX_LOG_SCALE).exp()
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=1)
