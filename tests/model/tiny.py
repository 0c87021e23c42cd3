"""Tiny networks with weights large enough that their texts differ."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from model.config import PrismerConfig, TextConfig, VisionConfig
from model.prismer import Prismer
from model.tokenizer import load_tokenizer

TOKENIZER = Path(__file__).parents[1] / "parity" / "goldens" / "core" / "tokenizer"
CONFIG = PrismerConfig(
    vision=VisionConfig(width=64, layers=1, heads=1, patch_size=8),
    text=TextConfig(hidden_size=32, layers=2, heads=2, ffn_size=64, vocab_size=378, max_positions=66),
    experts=(),
    image_resolution=24,
)
M = TypeVar("M", bound=Prismer)


def build(cls: type[M], seed: int = 0, end: float = 0.0, compat: bool = False) -> M:
    """A tiny PrismerZ in eval mode.

    Args:
        cls: `PrismerCaption` or `PrismerVQA`.
        seed: of its weights.
        end: bias of the end token's logit; a large one ends texts early.
        compat: of its configuration.
    """
    torch.manual_seed(seed)
    model = cls(replace(CONFIG, compat=compat), load_tokenizer(TOKENIZER))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
        model.text_decoder.lm_head.bias[model.text_decoder.eos_id] = end
    return model.eval()


def images(batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """The encoder's input."""
    return {"rgb": torch.randn(batch, 3, 24, 24, generator=torch.Generator().manual_seed(seed))}
