"""A nano network with everything that a large one has."""

from dataclasses import replace

from benchmarks.networks import EXPERTS, TOKENIZER
from helpers.checkpoints.load import build_model
from model.captioning import PrismerCaption
from model.config import FreezeMode, PrismerConfig
from model.prismer import Prismer
from model.sizes import read_model_size


def network(freeze: FreezeMode, cls: type[Prismer] = PrismerCaption, dropout: float = 0.0) -> Prismer:
    """In training mode, for 96 pixels; a CPU has no fused attention with dropout, so by default without."""
    size = read_model_size("prismer_nano")
    config = PrismerConfig(size.vision, replace(size.text, dropout=dropout), EXPERTS, 96, 64)
    model = build_model(cls, config, TOKENIZER)
    model.freeze(freeze)
    return model.train()
