"""Shared parts of the benchmarks: command line, machine, interleaved timing, peak memory, FLOPs, table."""

import argparse
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.workers import parallel_map

T = TypeVar("T")


def start(title: str) -> bool:
    """Reads the command line, sets the threads, prints title and machine.

    Returns:
        Whether networks and data are to be tiny.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--tiny", action="store_true", help="tiny networks: only shows that the script works")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"\n{title}{' (tiny: no figures to quote)' if args.tiny else ''}\n{machine()}", flush=True)
    return args.tiny


def machine() -> str:
    """The processor, torch's threads and version."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    name = model.group(1) if model else "unknown processor"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {capability}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32"


@dataclass(frozen=True)
class Timing:
    """The median seconds and the result of one way."""

    seconds: float
    result: Any


def take_turns(ways: Mapping[str, Callable[[], Any]], repetitions: int, warm_up: bool = True) -> dict[str, Timing]:
    """Times several ways of the same work, in turns, so that a busy machine disturbs all of them alike.

    Args:
        ways: the functions to time, by name.
        repetitions: timed runs of each.
        warm_up: whether each runs once untimed before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for turn in range(-warm_up, repetitions):
        for name, way in ways.items():
            began = time.perf_counter()
            results[name] = way()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(statistics.median(seconds[name]), results[name]) for name in ways}


def peak_memory(work: Callable[..., Any], *args: Any) -> int:
    """Peak resident bytes of a fresh process that runs some work (from Linux's /proc)."""
    return in_fresh_process(_work_and_peak, work, args)


def _work_and_peak(work: Callable[..., Any], args: tuple[Any, ...]) -> int:
    work(*args)
    return peak_so_far()


def in_fresh_process(work: Callable[..., T], *args: Any) -> T:
    """Runs some work in a fresh process with as many threads of torch; returns its result."""
    (result,) = parallel_map(partial(_with_threads, torch.get_num_threads(), work), [args], 1, fresh=True)
    return result


def _with_threads(threads: int, work: Callable[..., T], args: tuple[Any, ...]) -> T:
    torch.set_num_threads(threads)
    return work(*args)


def peak_so_far() -> int:
    """Peak resident bytes of this process, from Linux's /proc: getrusage would count the parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) * 1024


def count_flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions of some work."""
    # torch has no count for the CPU's fused attention, so attention runs as two matrix products here.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header; numbers are right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for first, *rest in (header, ["-" * width for width in widths], *rows):
        numbers = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *numbers]), flush=True)
