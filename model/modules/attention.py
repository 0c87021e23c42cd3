"""Multi-head attention in the parameter layout of `torch.nn.MultiheadAttention`."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self- or cross-attention, batch first, through `scaled_dot_product_attention`.

    `torch.nn.MultiheadAttention` gives the same numbers, with eight more copies a layer.

    Args:
        width: of tokens.
        heads: divide the width.
        std: standard deviation of new input projections; None: Xavier's uniform ones, as torch's.
    """

    def __init__(self, width: int, heads: int, std: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        if std is None:
            nn.init.xavier_uniform_(self.in_proj_weight)
        else:
            nn.init.normal_(self.in_proj_weight, std=std)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attends from every token of `x` to all tokens of `context`, or of `x` itself.

        Args:
            x: (b, l, d).
            context: (b, m, d), or None.

        Returns:
            (b, l, d).
        """
        out = F.scaled_dot_product_attention(*self._project(x, context))
        return self.out_proj(rearrange(out, "b h l c -> b l (h c)"))

    def weights(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The attention weights, float32 (b, heads, l, m); `forward` does not compute them."""
        q, k, _ = self._project(x, context)
        return attention_weights(q, k)

    def _project(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        if context is None:
            q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            q_weight, kv_weight = self.in_proj_weight.split([width, 2 * width])
            q_bias, kv_bias = self.in_proj_bias.split([width, 2 * width])
            q = F.linear(x, q_weight, q_bias)
            k, v = F.linear(context, kv_weight, kv_bias).chunk(2, dim=-1)
        return tuple(rearrange(t, "b l (h c) -> b h l c", h=self.heads) for t in (q, k, v))


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """The softmax inside `scaled_dot_product_attention`, without a mask.

    Args:
        q: (b, heads, l, c).
        k: (b, heads, m, c).

    Returns:
        float32 (b, heads, l, m); each row sums to one.
    """
    return (q @ k.mT * q.shape[-1] ** -0.5).float().softmax(dim=-1)
