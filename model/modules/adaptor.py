"""Adaptors: the small trainable layers inside the frozen towers.

They have no bottleneck: both projections are d -> d.
"""

from functools import partial

from torch import Tensor, nn

from model.modules.initialisation import init_weights
from model.modules.mlp import squared_relu
from model.modules.norm import LayerNorm


class Projections(nn.Module):
    """Down, squared ReLU, up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, width)
        self.up_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return self.up_proj(squared_relu(self.down_proj(x)))


class Adaptor(nn.Module):
    """The parameters of either adaptor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaptor = Projections(width)
        self.adaptor_ln = LayerNorm(width)


class LanguageAdaptor(Adaptor):
    """Adaptor of the language tower; its norm comes last. `TextDecoder` initialises it."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return self.adaptor_ln(x + self.adaptor(x))


class VisionAdaptor(Adaptor):
    """Adaptor of the vision tower; its norm comes first.

    Args:
        width: of tokens.
        std: standard deviation of new weights, with zero biases; None: torch's uniform initialisation.
    """

    def __init__(self, width: int, std: float | None = None) -> None:
        super().__init__(width)
        if std is not None:
            self.adaptor.apply(partial(init_weights, std=std))

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        return x + self.adaptor(self.adaptor_ln(x))
