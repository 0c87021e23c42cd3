"""A model made ready for training, from outside: model code knows nothing of it. The order matters."""

from accelerate import Accelerator
from torch import nn

from helpers.performance.bf16_blocks import lower_blocks
from helpers.performance.compilation import Compilation, compile_model
from helpers.performance.inference_graphs import replay_inference
from helpers.performance.training_graphs import record_losses, why_not
from helpers.training.distribution.activation_checkpointing import (
    ActivationCheckpointing,
    checkpoint_activations,
)
from helpers.training.distribution.batch_norm import synchronise_batch_norms
from helpers.training.distribution.sharding import Sharding, distribute, unwrap
from model.config import FreezeMode
from model.prismer import Prismer


def prepare_model(
    model: Prismer,
    accelerator: Accelerator,
    *,
    freeze: FreezeMode,
    sync_batchnorm: bool = False,
    activation_checkpointing: ActivationCheckpointing = "none",
    compiled: Compilation = "none",
    sharding: Sharding = "none",
) -> nn.Module:
    """Freezes, wraps and spreads a model; `build_optimizer` then takes the parameters after sharding.

    Args:
        model: with its weights, equal on all processes, in float32.
        accelerator: the processes.
        freeze: which parameters do not train.
        sync_batchnorm: the stems normalise over the samples of all processes.
        activation_checkpointing: which activations are kept for the backward pass, and where.
        compiled: `blocks` are compiled; `graphs` of steps and inference are recorded, where they can be.
        sharding: what is split over the processes.

    Returns:
        The module whose forward is to be called; `unwrap` finds the model in it.
    """
    model.freeze(freeze)  # all later steps look at it
    if sync_batchnorm:
        synchronise_batch_norms(model, accelerator)
    if compiled in ("blocks", "both"):
        compile_model(model)
    lower_blocks(model)  # autocast's copies of weights stay outside of what is compiled
    checkpoint_activations(model, activation_checkpointing)  # runs all that again
    prepared = distribute(model, accelerator, sharding)  # gathers parameters outside of what is run again
    if compiled in ("graphs", "both"):
        if reason := why_not(accelerator, activation_checkpointing):
            accelerator.print(f"--compile {compiled}: no CUDA graphs are recorded: {reason}")
        else:  # they record all of it on its device
            record_losses(unwrap(prepared))
            replay_inference(unwrap(prepared))
    return prepared
