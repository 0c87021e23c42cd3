"""A script in a process forked from this one, in which torch is imported: half a second instead of five."""

import logging
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

import torch
import torchvision.transforms  # noqa: F401 (which training imports late)
from accelerate.state import AcceleratorState
from tqdm import tqdm

FORK = get_context("fork")
ROOT = Path(__file__).resolve().parents[1]


def forked_script(path: str, *arguments: object, cwd: Path, processes: int = 1) -> CompletedProcess:
    """Runs a script of the project, on the CPU, from a folder of the test's own, as `script` does.

    Of several processes the exit code is the first that is not 0.
    """
    encoding, _, strict = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    with (
        tempfile.TemporaryFile("w+", encoding=encoding, errors=strict or None) as output,
        tempfile.TemporaryFile("w+", encoding=encoding, errors="backslashreplace") as errors,
    ):
        argv = [str(ROOT / path), *map(str, arguments)]
        running = [
            FORK.Process(target=_run, args=(argv, cwd, environment, output, errors))
            for environment in environments(processes)
        ]
        for process in running:
            process.start()
        found = codes(running, 300)
        for file in (output, errors):
            file.seek(0)
        code = next((code for code in found if code != 0), 0)
        return CompletedProcess(argv, code, output.read(), errors.read())


def codes(processes: list[BaseProcess], seconds: float = 120) -> list[int | None]:
    """The exit codes of processes, negative for signals; what does not end in time is killed: None."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    found = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return found


def environments(processes: int) -> list[dict[str, str]]:
    """What torchrun would put into the environment of each process of a run."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def _run(argv: list[str], cwd: Path, environment: dict[str, str], output: IO[str], errors: IO[str]) -> None:
    os.environ.update(environment)
    settle(cwd, output, errors)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def settle(cwd: Path, output: IO[str], errors: IO[str]) -> None:
    """Makes a forked process one of a user's: in a folder, on the CPU, printing to files."""
    os.chdir(cwd)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under `nohup`
    torch.set_num_threads(1)  # the threads of the parent are not here
    AcceleratorState._reset_state(reset_partial_state=True)  # of a test before
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    sys.stdout, sys.stderr = output, errors
    logging.getLogger().handlers.clear()  # pytest's, which would keep what goes to stderr
    own_progress()


def own_progress() -> None:
    """Gives a forked process a lock of its own for progress bars: it may be killed while it holds it."""
    tqdm.set_lock(threading.RLock())
