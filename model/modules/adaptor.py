"""Adaptors: the small trainable layers inside the frozen towers.

Neither has a bottleneck: both projections are d -> d.
"""

from torch import Tensor, nn

from model.modules.mlp import squared_relu
from model.modules.norm import LayerNorm


class Projections(nn.Module):
    """Down, squared ReLU, up. Weights start at N(0, 0.02), so that a new adaptor adds little."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, width)
        self.up_proj = nn.Linear(width, width)
        for projection in (self.down_proj, self.up_proj):
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return self.up_proj(squared_relu(self.down_proj(x)))


class VisionAdaptor(nn.Module):
    """Adaptor of the vision tower; its norm comes first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaptor = Projections(width)
        self.adaptor_ln = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return x + self.adaptor(self.adaptor_ln(x))


class LanguageAdaptor(nn.Module):
    """Adaptor of the language tower; its norm comes last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaptor = Projections(width)
        self.adaptor_ln = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return self.adaptor_ln(x + self.adaptor(x))
