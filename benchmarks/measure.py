"""What the benchmarks share: command line, machine description, interleaved medians, peak memory, table."""

import argparse
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch


def start(description: str) -> bool:
    """Reads the command line, sets the threads, and states the machine.

    Returns:
        Whether the networks are to be tiny.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="a tiny network: shows that the script works")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"\n{description}\n{machine()}", flush=True)
    return args.tiny


def machine() -> str:
    """The processor, torch's threads and version."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    name = f"{model.group(1)} ({torch.backends.cpu.get_cpu_capability()})" if model else "unknown processor"
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32"


def medians(
    ways: Mapping[str, Callable[[], object]], repetitions: int, warm_up: bool = True
) -> dict[str, float]:
    """Median seconds of each way; they take turns, so that a disturbance of the machine meets all of them.

    Args:
        ways: what is to be timed, by name.
        repetitions: how often each.
        warm_up: whether each runs once before, untimed.
    """
    if warm_up:
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(work: Callable[..., object], *args: object) -> int:
    """Peak resident bytes of a fresh process that does a piece of work (Linux)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_work_and_peak, (torch.get_num_threads(), work, args))


def _work_and_peak(threads: int, work: Callable[..., object], args: tuple) -> int:
    torch.set_num_threads(threads)
    work(*args)
    status = Path("/proc/self/status").read_text()  # unlike getrusage, not the parent's peak as well
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) * 1024


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]), flush=True)
