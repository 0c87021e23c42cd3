"""The image as a pyramid of features: ResNeSt-200 and a feature pyramid network (arXiv 1612.03144)."""

import timm
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 256
STRIDES = (8, 16, 32, 64, 128)  # of the levels p3 to p7
ALIGNMENT = 32  # the body halves a side this often without a remainder


class Pyramid(nn.Module):
    """ResNeSt's stages at 1/8, 1/16 and 1/32, brought to one width; each gets what the coarser ones saw."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model("resnest200e", features_only=True, out_indices=(2, 3, 4))
        widths = self.body.feature_info.channels()
        self.laterals = nn.ModuleList(_conv_norm(width, CHANNELS, 1) for width in widths)
        self.outputs = nn.ModuleList(_conv_norm(CHANNELS, CHANNELS, 3) for _ in widths)
        self.p6 = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (b, 3, h, w), sides multiples of 32 -> p3 to p7, each (b, 256, h', w')."""
        merged = None
        levels: list[Tensor] = []
        stages = zip(self.body(images), self.laterals, self.outputs, strict=True)
        for features, lateral, output in reversed(list(stages)):
            fine = lateral(features)
            merged = fine if merged is None else fine + F.interpolate(merged, scale_factor=2, mode="nearest")
            levels.insert(0, output(merged))
        p6 = self.p6(levels[-1])
        return [*levels, p6, self.p7(F.relu(p6))]


def _conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))
