"""The transformer's feed-forward part and its activations."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

QUICK = 1.702


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI CLIP's approximation of GELU: x * sigmoid(1.702 x), which is silu(1.702 x) / 1.702."""
    return F.silu(QUICK * x) / QUICK


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2, https://arxiv.org/abs/2109.08668.

    A product: autocast on a GPU computes `square` in float32, and keeps a float32 copy for the backward
    pass. The numbers are the same to the bit.
    """
    positive = F.relu(x)
    return positive * positive


class MLP(nn.Module):
    """d -> 4d -> d."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        if self.activation is not quick_gelu:
            return self.c_proj(self.activation(self.c_fc(x)))
        # Quick GELU's factors go into the weights, which have far fewer numbers than the activations.
        x = F.silu(F.linear(x, QUICK * self.c_fc.weight, QUICK * self.c_fc.bias))
        return F.linear(x, self.c_proj.weight / QUICK, self.c_proj.bias)
