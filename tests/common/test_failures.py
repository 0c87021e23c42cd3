"""A failure ends a run in one line: in a worker, in a pool of processes, in the reader of the output."""

import errno
import os
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from common.cli import Stopped, names, natural, positive, printable, run, whole
from common.errors import UserError
from dataset.images import MissingImage
from helpers.training.flags import training_parser


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> Iterator[None]:
    """A loader that has failed waits for its workers' end, five seconds else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
        yield


class _Faulty(list):
    """A data set of one unreadable sample."""

    def __init__(self, fault: Callable) -> None:
        super().__init__([0])
        self.fault = fault

    def __getitem__(self, index: int) -> None:
        self.fault()


def _raise(error: BaseException) -> None:
    raise error


def _die(number: int) -> None:
    os.kill(os.getpid(), number)


# Torch complains of a killed worker once more when its loader is deleted.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (partial(_raise, MissingImage("image a.jpg: No such file", "")), 2, "image a.jpg: No such file"),
        (partial(_raise, OSError(errno.ENOSPC, "x", "f")), 2, "No space left on device: free some space"),
        (partial(_raise, RuntimeError("received 0 items of ancdata")), 2, "too many files are open"),
        (partial(_raise, MemoryError()), 2, "memory ran out"),
        (partial(_raise, RuntimeError("unable to write to file </torch_1_2>: full")), 2, "/dev/shm is full"),
        (partial(_die, signal.SIGBUS), 2, "/dev/shm is full"),
        (partial(_die, signal.SIGKILL), 4, "a process that reads data was killed"),
        (partial(os._exit, 1), 4, "a process that reads data was killed"),
    ],
)
def test_a_worker_ends_the_run_in_one_line(fault: Callable, code: int, line: str, capfd) -> None:
    loader = DataLoader(_Faulty(fault), batch_size=None, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(SystemExit) as end:
        run(lambda: list(loader) and None)
    if fault.args == (signal.SIGBUS,) and end.value.code == 4:  # torch has missed the worker before its signal
        code, line = 4, "a process that reads data was killed"
    assert end.value.code == code
    *before, told = capfd.readouterr().err.splitlines()
    assert f"error: {line}" in told
    assert not [each for each in before if "Traceback" in each]


def test_a_killed_process_of_a_pool_ends_the_run_in_one_line(capfd) -> None:
    def work() -> None:
        with ProcessPoolExecutor(1) as pool:
            list(pool.map(_die, [signal.SIGKILL]))

    with pytest.raises(SystemExit, match="4"):
        run(work)
    assert capfd.readouterr().err.startswith("error: a process that reads data was killed")


@pytest.mark.parametrize(
    ("main", "code", "told"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (partial(_raise, UserError("this is wrong")), 2, "error: this is wrong\n"),
        (partial(_raise, KeyboardInterrupt()), 130, "interrupted\n"),
        (partial(_raise, Stopped("saved")), 143, "saved\n"),
        (partial(_raise, Stopped.by(signal.SIGHUP)), 129, "stopped by SIGHUP\n"),
        (partial(_die, signal.SIGTERM), 143, "\nstopped by SIGTERM\n"),
        (partial(sys.exit, 7), 7, ""),
    ],
)
def test_how_a_run_ends(main: Callable, code: int, told: str, capfd) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == code
    assert capfd.readouterr().err == told
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_a_fault_of_our_own_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (natural, {"1": 1, "2147483647": 2**31 - 1}, ["0", "-1", "2147483648", "1.5", "x"]),
        (whole, {"0": 0, "2147483647": 2**31 - 1}, ["-1", "2147483648", "1e3"]),
        (positive, {"1e-9": 1e-9, "2": 2.0}, ["0", "-1", "inf", "nan", "x"]),
        (names, {"none": [], "depth": ["depth"], "depth,edge": ["depth", "edge"]}, []),
        (printable, {"a b": "a b", "é猫": "é猫", "a\nb": r"a\nb", "\udce9\x1b": r"\udce9\x1b"}, []),
    ],
)
def test_values_of_flags(kind: Callable, good: dict, bad: list) -> None:
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises((ValueError, ArgumentTypeError)):
            kind(text)


_PRINTS = "from common.cli import run; run(lambda: print('caf\\u00e9 \\udce9' + 'x\\n' * 99999))"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("output", "code", "lines"), [("pipe", 128 + signal.SIGPIPE, 0), ("/dev/full", 2, 1)])
def test_the_output_cannot_be_written(output: str, code: int, lines: int, unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "ascii"}
    if output == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(output, os.O_WRONLY)
    process = subprocess.run(
        [sys.executable, "-c", _PRINTS], stdout=writer, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(writer)
    assert process.returncode == code
    assert process.stderr.count(b"\n") == lines, process.stderr


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--seed", "-1"), ("--seed", "9" * 5000), ("--seed", "nan"), ("--exp_name", ""), ("--exp_name", "../x")],
)
def test_a_flag_out_of_its_range_is_named(flag: str, value: str, capsys) -> None:
    parser = training_parser("", "config.yaml")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--exp_name", "x", flag, value])
    assert f"error: argument {flag}: " in capsys.readouterr().err
