"""Activation checkpointing: blocks keep their inputs alone, and run again in the backward pass.

fairscale's `checkpoint_wrapper` (0.4.13) was tried first, and is not used. It runs blocks again under
autocast in float16, or on a CPU without it, so gradients of training in bfloat16 were off by 9 %; and in
float32 they were not to the bit those without checkpointing, which torch's are.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from model.prismer import Prismer

ActivationCheckpointing = Literal["none", "full", "offload"]


def checkpoint_activations(model: Prismer, mode: ActivationCheckpointing) -> None:
    """Makes every repeated unit of a model forget its activations; call it before compiling and sharding.

    Random states are kept, so dropout draws the same again. The stems are no units: run twice a step, they
    would update their running statistics twice. A unit in which nothing needs a gradient keeps nothing.

    Args:
        model: its blocks' `forward` is replaced; names of parameters stay.
        mode: `full` keeps the blocks' inputs on the device, `offload` in the host's memory.
    """
    if mode == "none":
        return
    for block in model.blocks():
        block.forward = partial(_checkpointed, block.forward, mode == "offload")


def _checkpointed(forward: Callable[..., Tensor], offload: bool, *args: Any) -> Tensor:
    # Only the inputs are seen by this: inside a checkpoint nothing is saved.
    inputs = save_on_cpu(pin_memory=torch.cuda.is_available()) if offload else nullcontext()
    with inputs:
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=True)
