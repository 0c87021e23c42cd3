"""Stems: the convolutions from an expert's label to features of tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.modalities import EMBEDDING_DIM, Modality
from model.modules.label_map import LabelMap


class Resize(nn.Module):
    """Bilinear resize with aligned corners by `numerator / denominator`."""

    def __init__(self, numerator: int, denominator: int) -> None:
        super().__init__()
        self.numerator = numerator
        self.denominator = denominator

    def forward(self, x: Tensor | LabelMap) -> Tensor:
        """(b, c, L, L) or a label map of side L -> (b, c, L', L')."""
        plane = x.index if isinstance(x, LabelMap) else x
        side = plane.shape[-1] * self.numerator // self.denominator
        if isinstance(x, LabelMap):
            return x.resize(side)
        return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=True)


class Stem(nn.Sequential):
    """A label of side L -> (b, width, L / patch_size, L / patch_size): resize, convolutions and norms."""

    def __init__(self, modality: Modality, width: int, patch_size: int) -> None:
        if modality.is_label_map:
            resize, channels, strides = Resize(4, patch_size), EMBEDDING_DIM, (2, 2, 1, 1)
        else:
            resize, channels, strides = Resize(16, patch_size), modality.channels, (2, 2, 2, 2)
        widths = [channels, width // 8, width // 4, width // 2, width]
        layers: list[nn.Module] = [resize]
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Conv2d(width, width, 1, bias=False))

    def forward(self, label: Tensor | LabelMap) -> Tensor:
        """(b, c, L, L) or a label map of side L -> (b, width, L / patch_size, L / patch_size)."""
        return self.convolve(self[0](label))

    def convolve(self, x: Tensor) -> Tensor:
        """All but the resize."""
        _, first, *rest = self
        x = convolve_padded(first, x) if x.is_cuda else first(x)
        for module in rest:
            x = module(x)
        return x


def convolve_padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution without bias in the form with fast GPU kernels: channels last, padded to a multiple of 8.

    The output is channels last too, which makes the norm behind it several times as fast.
    """
    rest = (0, 0, 0, 0, 0, -x.shape[1] % 8)
    x = F.pad(x, rest).contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, F.pad(layer.weight, rest), None, layer.stride, layer.padding)
