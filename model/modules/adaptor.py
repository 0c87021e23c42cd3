"""Adaptors: the small trainable layers inside the frozen towers.

Neither has a bottleneck: both projections are d -> d.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from model.modules.norm import LayerNorm


class _SquaredReluMLP(nn.Module):
    """down, squared ReLU, up; weights start at N(0, 0.02), so that a new adaptor adds little."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, width)
        self.up_proj = nn.Linear(width, width)
        for projection in (self.down_proj, self.up_proj):
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up_proj(F.relu(self.down_proj(x)).square())


class VisionAdaptor(nn.Module):
    """Adaptor of the vision tower; the norm comes first: `x + mlp(LN(x))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaptor = _SquaredReluMLP(width)
        self.adaptor_ln = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return x + self.adaptor(self.adaptor_ln(x))


class LanguageAdaptor(nn.Module):
    """Adaptor of the language tower; the norm comes last: `LN(x + mlp(x))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaptor = _SquaredReluMLP(width)
        self.adaptor_ln = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return self.adaptor_ln(x + self.adaptor(x))
