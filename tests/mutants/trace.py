"""A pytest plugin: notes which functions of the project each test runs, in forked processes too.

Lines of the file that MUTANTS_TRACE names, and of its like for each process of pytest-xdist:
`test <tab> phase <tab> file <tab> function`, and `test <tab> phase <tab> seconds <tab> outcome`, where the
seconds are the processor's, which other work on the machine does not change.
"""

import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

import pytest

ROOT = str(Path(__file__).resolve().parents[2]) + os.sep
_seen: set[CodeType] = set()
_test, _phase, _began = "", "", 0.0
_file = os.open(
    os.environ["MUTANTS_TRACE"] + os.environ.get("PYTEST_XDIST_WORKER", ""),
    os.O_WRONLY | os.O_APPEND | os.O_CREAT,
)


def _write(*fields: object) -> None:
    os.write(_file, ("\t".join(map(str, fields)) + "\n").encode())


def _trace(frame: FrameType, _event: str, _argument: object) -> None:
    code = frame.f_code
    if _seen is None or code in _seen:  # at the end of Python its names are gone
        return
    _seen.add(code)
    if _test and code.co_filename.startswith(ROOT):
        name = code.co_filename.removeprefix(ROOT)
        if not name.startswith((".venv", "tests")):
            _write(_test, _phase, name, code.co_qualname)


def _seconds() -> float:
    return sum(os.times()[:4])  # this process and its children


def _begin(item: pytest.Item, phase: str) -> None:
    global _test, _phase, _began
    _test, _phase, _began = item.nodeid, phase, _seconds()
    _seen.clear()
    threading.settrace(_trace)
    sys.settrace(_trace)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _begin(item, "setup")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _begin(item, "call")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if (report.nodeid, report.when) == (_test, _phase):
        _write(_test, _phase, _seconds() - _began, report.outcome)
