"""A nano network with all parts of a large one, and its training step."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.networks import EXPERTS, TOKENIZER, random_inputs
from helpers.checkpoints.load import build_model
from model.captioning import PrismerCaption
from model.config import FreezeMode, PrismerConfig
from model.prismer import Prismer
from model.sizes import read_model_size
from model.vqa import PrismerVQA


def network(freeze: FreezeMode, cls: type[Prismer] = PrismerCaption, dropout: float = 0.0) -> Prismer:
    """In training mode, for 96 pixels; a CPU has no fused attention with dropout, so by default without."""
    size = read_model_size("prismer_nano")
    config = PrismerConfig(size.vision, replace(size.text, dropout=dropout), EXPERTS, 96, 64)
    model = build_model(cls, config, TOKENIZER)
    model.freeze(freeze)
    return model.train()


def learn(
    model: Prismer,
    texts: Sequence[str] = ("A picture of a red cube", "A picture of two cones"),
    bf16: bool = False,
    times: int = 1,
) -> tuple[Tensor, list[Tensor]]:
    """The loss of a batch and the gradients, accumulated over `times` passes."""
    torch.manual_seed(1)
    inputs = random_inputs(model.config, len(texts))
    for _ in range(times):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if isinstance(model, PrismerVQA):
                loss = model(inputs, texts, ["two", "a red cube"] * (len(texts) // 2), torch.ones(len(texts)))
            else:
                loss = model(inputs, texts, "A picture of")
        loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return loss.detach(), gradients
