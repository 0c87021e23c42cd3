"""torch.compile, as an option of training and evaluation."""

import torch

from model.prismer import Prismer


def compile_blocks(model: Prismer) -> None:
    """Compiles the encoder's repeated units in place.

    Layer by layer, so that all layers of a kind share one compilation. The decoder's stay as they are: their
    texts change in length from batch to batch, and a cache grows with every generated token.
    """
    for block in model.expert_encoder.blocks():
        block.forward = torch.compile(block.forward)
