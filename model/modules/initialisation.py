"""New weights, where they are not torch's own."""

from torch import nn


def init_weights(module: nn.Module, std: float) -> None:
    """RoBERTa's new weights of one module: N(0, std), zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
