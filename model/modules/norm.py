"""Layer normalisation in float32."""

from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in float32 whatever the input's type; the output has the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension: (..., d) -> (..., d)."""
        if x.dtype == self.weight.dtype:  # torch computes in float32 inside
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)
