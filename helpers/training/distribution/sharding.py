"""How a model is spread over processes; `preparation.py` shows what comes before and after.

Each repeated unit (vision layer, resampler block, decoder layer) is one FSDP2 group; the rest (stems,
embeddings, head) forms the root group. `shard_grad_op` keeps gathered parameters between forward and
backward (ZeRO-2), `full_shard` frees them (ZeRO-3).

accelerate's own FSDP works on accelerators only, and silently uses DDP for CPU processes; torch's
`fully_shard` on accelerate's process group is the same code on both.

Mixed precision is by autocast in every mode, over float32 parameters, gradients and moments. Sharded blocks
are gathered in the lower precision, too: half the traffic, and what autocast makes of them anyway but for
the weights of norms. It also lets `full_shard` free them: of float32 parameters, the backward pass would
keep autocast's copies. Frozen parameters stay in float32, too, so a checkpoint does not depend on how it was
trained. The root group stays in float32, for its BatchNorms and the loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from common.errors import UserError
from model.prismer import Prismer

Sharding = Literal["none", "shard_grad_op", "full_shard"]
_LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NEW, _OLD = "forward_sync_buffers", "broadcast_buffers"  # torch 2.14 has a new name for the option
_SYNC_BUFFERS = _NEW if _NEW in signature(DistributedDataParallel).parameters else _OLD


def distribute(model: Prismer, accelerator: Accelerator, sharding: Sharding) -> nn.Module:
    """Puts a model on its device, and wraps it for training over the processes there are.

    Args:
        model: frozen as it will train; its weights are equal on all processes.
        accelerator: launched by `accelerate launch`, or a single process.
        sharding: `none` trains with DDP where there are several processes.

    Returns:
        The module whose forward is to be called.

    Raises:
        UserError: one process cannot shard.
    """
    processes = accelerator.num_processes
    if sharding == "none":
        model = accelerator.prepare_model(model, evaluation_mode=True)  # on its device, with autocast
        if processes == 1:
            return model
        # Running statistics are averaged before evaluation (`average_statistics`), in every mode alike; DDP
        # would overwrite them by the first process's in each step. Gradients live in the reduced buffers.
        return DistributedDataParallel(model, gradient_as_bucket_view=True, **{_SYNC_BUFFERS: False})
    if processes == 1:
        raise UserError(f"--{sharding} needs several processes: start with `python launch.py`")
    model.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (processes,))
    policy = MixedPrecisionPolicy(
        param_dtype=_LOWER.get(accelerator.mixed_precision),
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # sums of residuals stay as autocast makes them
    )
    for block in model.blocks():
        fully_shard(block, mesh=mesh, reshard_after_forward=sharding == "full_shard", mp_policy=policy)
    fully_shard(model, mesh=mesh)
    for method in ("generate", "rank"):
        register_fsdp_forward_method(model, method)
    return model


def unwrap(model: nn.Module) -> Prismer:
    """The `Prismer` inside what `distribute` returned."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextmanager
def gathered(model: nn.Module, sharding: Sharding) -> Iterator[None]:
    """Keeps whole parameters on every process for an evaluation. Every process must enter and leave.

    Processes generate texts of different lengths from batches of different sizes: if each forward gathered
    parameters, the processes would wait for one another for ever.
    """
    groups = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for group in groups:
        group.set_reshard_after_forward(False, recurse=False)
        group.unshard()
    try:
        yield
    finally:
        for group in groups:
            group.reshard()
            if group is not model:
                group.set_reshard_after_forward(sharding == "full_shard", recurse=False)


def full_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights, on the CPU; every process must call it, the main one gets the tensors."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(unwrap(model), options=options)


def all_finite(model: nn.Module, accelerator: Accelerator) -> bool:
    """Whether all weights and statistics are finite on all processes, which must all call it."""
    tensors = [local(x) for x in (*model.parameters(), *model.buffers()) if x.is_floating_point()]
    lost = torch.stack([~torch.isfinite(x).all() for x in tensors]).any()
    return not accelerator.reduce(lost.float(), "sum")


def local(x: torch.Tensor) -> torch.Tensor:
    """A tensor's part on this process."""
    return x.to_local() if isinstance(x, DTensor) else x
