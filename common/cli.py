"""How the scripts start and end: flags, and one line with an exit code for a user's mistake."""

import argparse
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from common.failures import explained, flush_output

_MOST = 2**31 - 1  # of a number in a flag; libraries take no more
UNREADABLE_IMAGES = 3  # exit code: the work is done, except for images that cannot be read
_LAUNCHED = {"TORCHELASTIC_RUN_ID", "ACCELERATE_DYNAMO_BACKEND"}  # torchrun and `accelerate launch` set them
# Ctrl-C raises KeyboardInterrupt by itself; Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal, `number`, ends a run."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number

    @classmethod
    def by(cls, number: int) -> "Stopped":
        """Stopped by this signal."""
        return cls(f"stopped by {signal.Signals(number).name}", number)


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Gives signals a handler for a while, except SIGHUP where `nohup` has it ignored."""
    before = {number: signal.getsignal(number) for number in numbers}
    if before.get(hang_up := getattr(signal, "SIGHUP", None)) is signal.SIG_IGN:
        del before[hang_up]
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def say(line: str) -> None:
    """Writes to stderr in a signal's handler, which may have interrupted a print.

    If the terminal is gone, this process prints nothing from now on: it would fail before it has saved.
    """
    try:
        os.write(2, line.encode())
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            os.dup2(nothing, output)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # a second one must not disturb the end
    say("\n")
    raise Stopped.by(number)


def _end_with_the_launcher() -> None:
    """Sends this process SIGTERM when its parent, `accelerate launch` or torchrun, is gone."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if not _LAUNCHED.isdisjoint(os.environ):
        threading.Thread(target=watch, daemon=True).start()


def run(main: Callable[[], int | None]) -> None:
    """Runs a script's main function and exits with its code.

    A `UserError`, and a file that cannot be written, become one line on stderr and exit code 2. SIGTERM
    and SIGHUP end the script as Ctrl-C does: open files are closed, and half-written ones are removed.
    """
    _end_with_the_launcher()
    if isinstance(sys.stdout, TextIOWrapper):  # its encoding may lack letters of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow's warning of a large photo, which it reads all the same; a larger one is an error.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    try:
        with handled(_ENDING, _stop):
            code = main() or 0
    except SystemExit as end:  # argparse has printed its message
        code = end.code
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        code = 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)  # a shell's code
    except Exception as error:
        code = flush_output()  # the failure may be its own
        if not code:
            known = explained(error)
            if known is None:
                raise
            line, code = known
            if line:
                sys.stderr.write(f"error: {line}\n")  # at once: other processes may write theirs
    sys.exit(flush_output() or code)


def natural(text: str) -> int:
    """A flag's value that counts something: at least 1."""
    return _within(text, 1)


def _within(text: str, least: int) -> int:
    number = int(text)
    if not least <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is not from {least} to {_MOST}")
    return number


def saying(text: str) -> str:
    """A flag's value that is a text, not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def whole(text: str) -> int:
    """A flag's value that counts something, from 0."""
    return _within(text, 0)


def positive(text: str) -> float:
    """A flag's value that is a finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def named_path(text: str) -> Path:
    """A flag's value that names a file or a folder; not an empty text, which `Path` takes for the present folder."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; the present folder is .")
    return Path(text)


def experiment(text: str) -> str:
    """A flag's value that names a folder below `--output_dir`."""
    if not text or ".." in Path(text).parts:
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a folder below --output_dir")
    return text


def names(text: str) -> list[str]:
    """A flag's value that is a list of names, separated by commas; `none` is the empty list."""
    return [] if text == "none" else text.split(",")


def add_output_dir(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of the folder of experiments."""
    text = "parent of the experiments' folders (default: %(default)s)"
    parser.add_argument("--output_dir", type=named_path, default=Path("logging"), metavar="FOLDER", help=text)


def printable(name: str) -> str:
    """A file's name on one line: line breaks, and bytes that are not Unicode, as escapes."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)
