"""No process outlives its run, for each way to start processes and each way to end a run."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from common.workers import parallel_map

ROOT = Path(__file__).parents[2]
METHODS = ("fork", "spawn", "forkserver")
SOON = 60  # seconds; on a busy machine
# Two workers, each of which makes a file and waits until there is one named `go`.
SCRIPT = """
import multiprocessing, os, sys, time
from functools import partial
from pathlib import Path

from common.workers import parallel_map
from common.cli import run

def work(folder, number):
    (folder / str(number)).touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    return number

def main():
    print(sum(parallel_map(partial(work, Path(sys.argv[2])), [20, 22], 2)))

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    run(main)
"""


def wait_for_workers(folder: Path) -> None:
    """Both."""
    deadline = time.monotonic() + SOON
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def heed() -> None:
    """Handles signals, which tests in the background or under `nohup` ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts runs in folders of their own."""
    (tmp_path / "script.py").write_text(SCRIPT)
    runs = []

    def started(method: str, folder: str = "run", **options: object) -> subprocess.Popen:
        (tmp_path / folder).mkdir()
        command = [sys.executable, tmp_path / "script.py", method, tmp_path / folder]
        common = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "preexec_fn": heed, "text": True}
        common |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        runs.append(subprocess.Popen(command, **common | options))
        return runs[-1]

    yield started
    for run in runs:
        run.kill()
        run.communicate()


@pytest.mark.parametrize("method", METHODS)
def test_all_processes_end_with_the_run(start, tmp_path, method):
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    runs = [start(method, number.name) for number in numbers]
    for number, run in zip(numbers, runs, strict=True):
        wait_for_workers(tmp_path / number.name)
        others = psutil.Process(run.pid).children(recursive=True)
        assert len(others) >= 2
        run.send_signal(number)
        assert run.wait(SOON) == (-number if number == signal.SIGKILL else 128 + number)
        assert psutil.wait_procs(others, timeout=SOON)[1] == []


@pytest.mark.parametrize("method", METHODS)
def test_signals_to_all_are_left_to_the_run(start, tmp_path, method):
    run = start(method)
    wait_for_workers(tmp_path / "run")
    for process in psutil.Process(run.pid).children(recursive=True):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
    (tmp_path / "run" / "go").touch()
    assert run.communicate(timeout=SOON)[0] == "42\n"
    assert run.returncode == 0


def test_a_run_ends_in_order_when_its_terminal_is_gone(start, tmp_path):
    terminal, inside = pty.openpty()
    run = start("fork", stdout=inside, stderr=inside)
    wait_for_workers(tmp_path / "run")
    os.close(inside)
    os.close(terminal)
    run.send_signal(signal.SIGHUP)
    assert run.wait(SOON) == 128 + signal.SIGHUP


def test_nohup_is_heeded(start, tmp_path):
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    run = start("fork", preexec_fn=ignore)
    wait_for_workers(tmp_path / "run")
    run.send_signal(signal.SIGHUP)
    (tmp_path / "run" / "go").touch()
    assert run.wait(SOON) == 0


def test_a_run_ends_with_its_launcher(tmp_path):
    """As under `accelerate launch` and torchrun, which set such a variable."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "run").mkdir()
    launch = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", launch, tmp_path / "script.py", "fork", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as launcher:
        wait_for_workers(tmp_path / "run")
        others = psutil.Process(launcher.pid).children(recursive=True)
        launcher.kill()
    assert psutil.wait_procs(others, timeout=SOON)[1] == []


def _complain(error: Exception) -> None:
    sys.excepthook(type(error), error, None)  # as multiprocessing's threads do


def test_a_worker_does_not_complain_that_the_run_has_ended(capfd):
    errors = [ConnectionResetError("gone"), ValueError("a defect")]
    list(parallel_map(_complain, errors, 1, fresh=True))  # a fork server would have the stderr of its first test
    told = capfd.readouterr().err
    assert "a defect" in told
    assert "gone" not in told
