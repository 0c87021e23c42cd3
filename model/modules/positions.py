"""Positions of a square grid at another resolution."""

import math
from functools import cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Resizes a table of the positions of a square grid, bicubically: (n * n, d) -> (grid * grid, d)."""
    side = math.isqrt(len(table))
    if side == grid:
        return table
    plane = rearrange(table, "(y x) d -> 1 d y x", y=side)
    plane = F.interpolate(plane, size=(grid, grid), mode="bicubic", align_corners=False)
    return rearrange(plane, "1 d y x -> (y x) d")


@cache
def resizing(side: int, grid: int, device: torch.device) -> Tensor:
    """`resize_positions` as a matrix: (grid * grid, side * side)."""
    with torch.inference_mode(False), torch.no_grad():  # a matrix made in inference may serve training later
        return resize_positions(torch.eye(side * side, device="cpu"), grid).to(device)
