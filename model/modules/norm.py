"""What does not lose digits under autocast: layer normalisation, and products without it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Meanwhile products are computed in the type of what is multiplied."""
    available = torch.amp.is_autocast_available(device.type)  # not on meta
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in float32 whatever the input's type; the output has the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension: (..., d) -> (..., d)."""
        if x.dtype == self.weight.dtype:  # torch computes in float32 inside
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)
