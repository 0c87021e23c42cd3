"""The transformer's feed-forward part and its activations."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI CLIP's approximation of GELU: x * sigmoid(1.702 x).

    As SiLU it keeps one tensor for the backward pass instead of two, and takes half the time.
    """
    return F.silu(1.702 * x).mul_(1 / 1.702)


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2, https://arxiv.org/abs/2109.08668.

    A product, since autocast on a GPU computes `square` in float32, and would keep a copy in that for the
    backward pass. The numbers are the same to the bit.
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
        return self.c_proj(self.activation(self.c_fc(x)))
