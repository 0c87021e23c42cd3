"""The experts resampler: any number of expert tokens become 64."""

import torch
from einops import repeat
from torch import Tensor, nn

from model.config import VisionConfig
from model.modules.attention import Attention
from model.modules.mlp import MLP, squared_relu
from model.modules.norm import LayerNorm

LATENTS, BLOCKS, HEADS = 64, 4, 8


class ResamplerBlock(nn.Module):
    """Latents attend to themselves and to the tokens; `ln_1` normalises the latents as queries and as keys."""

    def __init__(self, width: int, attention_std: float | None) -> None:
        super().__init__()
        self.attn = Attention(width, HEADS, attention_std)
        self.mlp = MLP(width, squared_relu)
        self.ln_1 = LayerNorm(width)
        self.ln_2 = LayerNorm(width)
        self.ln_ff = LayerNorm(width)

    def forward(self, latents: Tensor, x: Tensor) -> Tensor:
        """Latents (b, n, d) and tokens x (b, l, d) -> latents (b, n, d)."""
        query = self.ln_1(latents)
        latents = latents + self.attn(query, torch.cat([query, self.ln_2(x)], dim=1))
        return latents + self.mlp(self.ln_ff(latents))


class Resampler(nn.Module):
    """A perceiver, https://arxiv.org/abs/2103.03206."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, std = config.width, config.latents_std
        self.latents = nn.Parameter(torch.empty(LATENTS, width))
        nn.init.normal_(self.latents, std=width**-0.5 if std is None else std)
        blocks = (ResamplerBlock(width, config.attention_std) for _ in range(BLOCKS))
        self.perceiver_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (b, l, d) -> (b, 64, d)."""
        latents = repeat(self.latents, "n d -> b n d", b=len(x))
        for block in self.perceiver_blocks:
            latents = block(latents, x)
        return latents
