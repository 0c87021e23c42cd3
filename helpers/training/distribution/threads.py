"""How many threads torch computes with on the host: as many as there are cores for it, and not one more.

torch takes a thread for each core of the machine. Where a container has fewer, or workers that read data want
some, threads wait for one another: a run of Prismer-Nano took three to eight times as long.
"""

import os
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores(cgroup: Path = CGROUP) -> int:
    """The cores that this process may use: by its affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(min(cores, round(quota)), 1)


def _quota(cgroup: Path) -> float | None:
    """Cores that the container's quota allows, None without one; by versions 2 and 1 of Linux's groups."""
    try:
        if (file := cgroup / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{x}_us").read_text() for x in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # none there; or "max"
        return None


def choose_threads(workers: int) -> str | None:
    """Sets torch's threads to the cores that are left for this process.

    Args:
        workers: processes that read data for it; each takes a core.

    Returns:
        What was chosen, to be printed; None if the environment has chosen.
    """
    if any(os.environ.get(name) for name in _CHOSEN_BY):
        return None
    cores = available_cores()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = max(cores // processes - workers, 1)
    torch.set_num_threads(threads)
    shared = f" for {processes} processes" if processes > 1 else ""
    return f"threads: {threads} of {cores} cores{shared}, workers {workers} (OMP_NUM_THREADS chooses otherwise)"
