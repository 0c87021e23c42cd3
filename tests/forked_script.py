"""A script in a process forked from this one, in which torch is imported: half a second instead of five."""

import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import torch
from accelerate.state import AcceleratorState

ROOT = Path(__file__).resolve().parents[1]


def forked_script(path: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a script of the project, on the CPU, from a folder of the test's own, as `script` does."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        argv = [str(ROOT / path), *map(str, arguments)]
        process = get_context("fork").Process(target=_run, args=(argv, cwd, output, errors))
        process.start()
        process.join(120)
        process.kill()
        process.join()
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(argv, process.exitcode, output.read(), errors.read())


def _run(argv: list[str], cwd: Path, output: IO[str], errors: IO[str]) -> None:
    settle(cwd, output, errors)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def settle(cwd: Path, output: IO[str], errors: IO[str]) -> None:
    """Makes a forked process one of a user's: in a folder, on the CPU, printing to files."""
    os.chdir(cwd)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)  # the threads of the parent are not here
    AcceleratorState._reset_state(reset_partial_state=True)  # of a test before
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    sys.stdout, sys.stderr = output, errors
