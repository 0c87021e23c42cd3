"""Activation checkpointing: blocks keep their inputs alone, and run again in the backward pass."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from fairscale.nn.checkpoint import checkpoint_wrapper
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.prismer import Prismer

ActivationCheckpointing = Literal["none", "full", "offload"]


def checkpoint_activations(model: Prismer, mode: ActivationCheckpointing) -> None:
    """Makes every repeated unit forget its activations. Call it after compiling and before sharding.

    Random states are kept, so dropout draws the same masks again. The stems are excluded: a second run would
    update their running statistics twice. A unit in which nothing needs a gradient keeps nothing.

    Args:
        model: its blocks' `forward` is replaced; names of parameters stay.
        mode: `full` keeps the blocks' inputs on the device (torch's checkpoint), `offload` in the host's
            memory (fairscale's).
    """
    if mode == "full":
        for block in model.blocks():
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if mode == "offload":
        # False alarm: weights get gradients even if the inputs need none.
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad")
        for block in model.blocks():
            block.forward = _offloaded(block)


def _offloaded(block: nn.Module) -> Callable[..., Tensor]:
    """The forward of a block that fairscale checkpoints.

    fairscale repeats a block under autocast in float16, whatever the run's precision (on a CPU without
    autocast). Here fairscale sees autocast switched off, and the block enters the state of its first run.
    """
    forward, unit = block.forward, checkpoint_wrapper(_Unit(block), offload_to_cpu=True)

    def run(*args: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*args)
        device = args[0].device.type
        state = partial(torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        with torch.autocast(device, enabled=False):
            return unit(state, *args)

    return run


class _Unit(nn.Module):
    """A block outside of the model's tree, so that the names of its weights stay."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.run = block, block.forward

    def forward(self, autocast: Callable[[], torch.autocast], *args: Any) -> Tensor:
        """Runs the block under autocast as in its first run."""
        with autocast():
            return self.run(*args)
