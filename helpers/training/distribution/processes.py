"""Starting accelerate: device, precision, processes."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
)
from torch import Tensor

from common.errors import UserError
from helpers.training.distribution.launch_settings import check_launch

PATIENCE = timedelta(minutes=30)  # of a process that waits for the others; then the run ends
_DEVICE = "ACCELERATE_TORCH_DEVICE"  # where accelerate looks for the device before it chooses one


def use_device(name: str) -> None:
    """Makes all that starts afterwards in this process, models and experts, run on a device.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        UserError: there is no such device here.
    """
    here = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator().type
        here += [kind, *(f"{kind}:{index}" for index in range(torch.accelerator.device_count()))]
    if name not in here:
        raise UserError(f"device '{name}' is not here; there are: {', '.join(here)}")
    os.environ[_DEVICE] = name


def start_accelerator(
    mixed_precision: str | None, tracker: str | None = None, folder: Path | None = None
) -> Accelerator:
    """The processes and devices that `accelerate launch` (or plain python) gives.

    Args:
        mixed_precision: `no`, `bf16` or `fp16`; None takes what accelerate's own config says, and where that
            is nothing or `no`, bf16 on a GPU that has it.
        tracker: `tensorboard`, `wandb` or `trackio`; see helpers/training/tracking.py.
        folder: of the experiment, where a tracker writes.

    Raises:
        UserError: what accelerate was told, or the precision, is nothing for here.
    """
    check_launch()
    # `accelerate launch` says "no" when nothing was chosen.
    chosen = mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    on_gpu = torch.cuda.is_available() and os.environ.get(_DEVICE, "cuda").startswith("cuda")
    if not chosen and on_gpu and torch.cuda.is_bf16_supported():
        mixed_precision = "bf16"
    # Without a GPU, several processes must be told that they are to use the CPU; else accelerate takes
    # each for the only one, in silence.
    cpu = not torch.accelerator.is_available()
    # Longer than NCCL's: the others wait while the main process scores an evaluation.
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=mixed_precision,
        log_with=tracker,
        project_dir=folder,
        kwargs_handlers=[patience],
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate would compute in float32 and not say so.
        raise UserError("--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no")
    return accelerator


def broadcast_from_main(value: float | None) -> float | None:
    """The main process's value, on every process."""
    return broadcast_object_list([value])[0]


def count_over_processes(indices: Tensor, accelerator: Accelerator) -> int:
    """How many different indices the processes have together, on every process."""
    if accelerator.num_processes > 1:
        indices = torch.cat(gather_object([indices]))
    return len(indices.unique())
