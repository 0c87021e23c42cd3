"""Starting accelerate: device, precision, processes; how many threads each process computes with."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from common.errors import UserError
from helpers.training.distribution.launch_settings import check_launch

PATIENCE = timedelta(minutes=30)  # that a process waits for the others; then the run ends
_DEVICE = "ACCELERATE_TORCH_DEVICE"  # where accelerate looks for the device before it chooses one
_CGROUP = Path("/sys/fs/cgroup")


def use_device(name: str) -> None:
    """Makes all models and experts that this process starts later run on a device.

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
        mixed_precision: `no`, `bf16` or `fp16`; None takes that of accelerate's own config, and without one
            bf16 on a GPU that has it.
        tracker: `tensorboard`, `wandb` or `trackio`; see helpers/training/tracking.py.
        folder: of the experiment, where a tracker writes.

    Raises:
        UserError: accelerate's settings, or the precision, cannot be used here.
    """
    check_launch()
    # `accelerate launch` says "no" when nothing was chosen.
    chosen = mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    on_gpu = torch.cuda.is_available() and os.environ.get(_DEVICE, "cuda").startswith("cuda")
    if not chosen and on_gpu and torch.cuda.is_bf16_supported():
        mixed_precision = "bf16"
    accelerator = Accelerator(
        # Without `cpu`, accelerate takes each of several processes without a GPU for the only one, in silence.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=mixed_precision,
        log_with=tracker,
        project_dir=folder,
        # Longer than NCCL's: the others wait while the main process scores an evaluation.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate would compute in float32, in silence.
        raise UserError("--mixed_precision fp16 needs a GPU; on a CPU use bf16 or no")
    return accelerator


def choose_threads(workers: int) -> str | None:
    """Sets torch's threads to the cores that are left for this process, which speeds up small networks 3 to 8 times.

    torch takes a thread for each core of the machine. Where a container has fewer, or workers that read data
    want some, the threads wait for one another.

    Args:
        workers: processes that read data for it; each takes a core.

    Returns:
        The choice, to be printed; None if the environment has chosen.
    """
    if os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS"):
        return None
    cores = available_cores()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = max(cores // processes - workers, 1)
    torch.set_num_threads(threads)
    shared = f" for {processes} processes" if processes > 1 else ""
    return f"threads: {threads} of {cores} cores{shared}, workers {workers} (OMP_NUM_THREADS chooses otherwise)"


def available_cores(cgroup: Path = _CGROUP) -> int:
    """The cores that this process may use: by its affinity, and by its container's quota (cgroups 1 and 2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (file := cgroup / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{x}_us").read_text() for x in ("quota", "period"))
        allowed = float(quota) / float(period)
    except (OSError, ValueError):  # no quota; or "max"
        return cores
    return max(min(cores, round(allowed)), 1) if allowed > 0 else cores
