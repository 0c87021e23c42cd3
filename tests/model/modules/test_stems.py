"""The GPU's form of a stem's first convolution gives the same numbers."""

import pytest
import torch
from torch import nn

from model.modules.stems import convolve_padded


@pytest.mark.parametrize("channels", [1, 3, 64])
def test_padded_channels_change_nothing(channels):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(channels, 24, 3, 2, padding=1, bias=False), torch.randn(2, channels, 12, 12)
    x.requires_grad_()
    expected, found = layer(x), convolve_padded(layer, x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    inputs = (layer.weight, x)
    wanted, gradients = (torch.autograd.grad((out * weights).sum(), inputs) for out in (expected, found))
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)
