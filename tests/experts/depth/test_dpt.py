"""What the released depth network sees: black is -1, white is 1."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from experts.base import RuntimeConfig
from experts.depth.dpt import Dpt


class Same(nn.Module):
    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(predicted_depth=images[:, 0])


def test_pixels_are_moved_to_minus_one_to_one() -> None:
    images = torch.tensor([0.0, 0.5, 1.0]).expand(1, 3, 1, 3)
    expert = Dpt(Same(), RuntimeConfig(torch.device("cpu"), Path()))
    assert expert.forward(images).tolist() == [[[-1.0, 0.0, 1.0]]]
