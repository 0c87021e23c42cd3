"""torch.compile, as an option of training and evaluation."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from helpers.training.distribution.batch_norm import SynchronisedBatchNorm2d
from model.prismer import Prismer

Compilation = Literal["none", "blocks", "graphs", "both"]  # graphs: helpers/performance/training_graphs.py
MULTIPLE = 16  # with it, texts have two or three lengths


def compile_model(model: Prismer) -> None:
    """Compiles the stems, the repeated units of both towers, and the loss, in place.

    Layers are compiled one by one, so all layers of a kind share one compilation. In training, texts are
    padded to few lengths. In generation the cache grows with every token, so a decoder layer with a cache runs
    uncompiled. So do stems with synchronised norms, which communicate.
    """
    model.multiple = MULTIPLE
    torch._dynamo.config.recompile_limit = 32  # of one function: kinds of layers times shapes
    encoder, decoder = model.expert_encoder, model.text_decoder
    for block in encoder.blocks():
        block.forward = torch.compile(block.forward)
    for name in {entry.stem for entry in encoder.modalities}:
        stem = encoder.conv1[name]
        if not any(isinstance(module, SynchronisedBatchNorm2d) for module in stem):
            stem.convolve = torch.compile(stem.convolve, dynamic=False)
    layers = decoder.roberta["encoder"]
    for layer in (*layers.layer, layers.output_layer):
        layer.forward = _without_cache(layer.forward)
    decoder.token_losses = torch.compile(decoder.token_losses)


def _without_cache(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    compiled = torch.compile(forward)

    def run(*args: Any) -> Tensor:
        *rest, cache = args
        return compiled(*rest) if cache is None else forward(*args)

    return run
