"""How the scripts start and end: one line and an exit code for a user's mistake, no stack trace."""

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

from common.failures import explained, printed

_MOST = 2**31 - 1  # of a number in a flag; libraries take no more
UNREADABLE_IMAGES = 3  # the work is done, but for images that cannot be read
_LAUNCHED = {"TORCHELASTIC_RUN_ID", "ACCELERATE_DYNAMO_BACKEND"}  # torchrun and `accelerate launch` set them
# Ctrl-C raises KeyboardInterrupt by itself; Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal ends a run. `number`: the signal."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number

    @classmethod
    def by(cls, number: int) -> "Stopped":
        """By this signal."""
        return cls(f"stopped by {signal.Signals(number).name}", number)


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Meanwhile signals have a handler; but not SIGHUP where `nohup` has made it ignored."""
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
    """Writes to stderr in a signal's handler: what was interrupted may be printing.

    If a terminal is gone, this process prints nothing from now on: it would fail before it has saved.
    """
    try:
        os.write(2, line.encode())
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            os.dup2(nothing, output)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # they often come twice, and must not disturb the end
    say("\n")
    raise Stopped.by(number)


def _end_with_the_launcher() -> None:
    """Has this process stop as by SIGTERM when `accelerate launch` or torchrun, which began it, is gone."""
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
    and SIGHUP end the script as Ctrl-C does: what is open is closed, and nothing half-written stays.
    """
    _end_with_the_launcher()
    if isinstance(sys.stdout, TextIOWrapper):  # whose encoding may lack letters of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow's, of a large photo that it reads all the same; what it takes for a bomb is an error.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    try:
        with handled(_ENDING, _stop):
            code = main() or 0
    except SystemExit as end:  # argparse has said what it is
        code = end.code
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        code = 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)  # as a shell tells of it
    except Exception as error:
        code = printed()  # it may be what has failed
        if not code:
            known = explained(error)
            if known is None:
                raise
            line, code = known
            if line:
                sys.stderr.write(f"error: {line}\n")  # at once: other processes may write theirs
    sys.exit(printed() or code)


def natural(text: str) -> int:
    """A flag's value that counts something: at least 1."""
    return _within(text, 1)


def _within(text: str, least: int) -> int:
    number = int(text)
    if not least <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is not from {least} to {_MOST}")
    return number


def saying(text: str) -> str:
    """A flag's value that is some text."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def whole(text: str) -> int:
    """A flag's value that may be 0, which is "none"; also that of `--seed`."""
    return _within(text, 0)


def positive(text: str) -> float:
    """A flag's value that is a number above 0, with an end."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def named_path(text: str) -> Path:
    """A flag's value that names a file or a folder; `Path` takes an empty text for the present folder."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; the present folder is .")
    return Path(text)


def experiment(text: str) -> str:
    """A flag's value that names a folder below `--output_dir`."""
    if not text or ".." in Path(text).parts:
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a folder below --output_dir")
    return text


def names(text: str) -> list[str]:
    """For argparse: names separated by commas; `none` is no name."""
    return [] if text == "none" else text.split(",")


def add_output_dir(parser: argparse.ArgumentParser) -> None:
    """The flag that says where the experiments are."""
    parser.add_argument(
        "--output_dir",
        type=named_path,
        default=Path("logging"),
        metavar="FOLDER",
        help="where the folders of experiments are (default: %(default)s)",
    )


def printable(name: str) -> str:
    """A file's name on one line: line breaks, and what is not Unicode, as escapes."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)


def training_parser(description: str, config: str) -> argparse.ArgumentParser:
    """The flags that every training script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--exp_name",
        type=experiment,
        required=True,
        help="the experiment; names its folder, <task>_<exp_name>",
    )
    add_output_dir(parser)
    parser.add_argument("--config", type=named_path, default=Path(config), help="YAML file (default: %(default)s)")
    parser.add_argument(
        "--set",
        dest="changes",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings instead of the file's, written as there: --set init_lr=1e-4 max_epoch=1",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="check settings, lists, labels and weights, print what would be done, and write nothing",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from_checkpoint",
        action="store_true",
        help="continue from, or evaluate, this task's own checkpoint instead of the pre-trained one",
    )
    start.add_argument(
        "--overwrite",
        action="store_true",
        help="start anew: replace the experiment's weights, checkpoints and metrics of an earlier run",
    )
    parser.add_argument("--evaluate", action="store_true", help="evaluate only")
    parser.add_argument(
        "--mixed_precision",
        choices=["no", "bf16", "fp16"],
        help="of what is computed (default: bf16 on a GPU that has it, else no)",
    )
    parser.add_argument("--seed", type=whole, default=42, help="of all that is drawn at random (default: %(default)s)")
    parser.add_argument(
        "--log_with",
        choices=["tensorboard", "wandb", "trackio", "none"],
        default="none",
        help="a tracker for what metrics.jsonl holds anyway",
    )
    parser.add_argument(
        "--compile",
        nargs="?",
        const="blocks",
        default="none",
        choices=["none", "blocks", "graphs", "both"],  # `Compilation`, whose module loads torch
        help="torch.compile layers and loss; graphs: replay steps as CUDA graphs instead; both: both",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="write trace.json beside the results, of a few steps, which https://ui.perfetto.dev opens",
    )
    sharding = parser.add_mutually_exclusive_group()
    sharding.add_argument(
        "--shard_grad_op",
        dest="sharding",
        action="store_const",
        const="shard_grad_op",
        default="none",
        help="shard gradients and optimizer over the processes (ZeRO-2)",
    )
    sharding.add_argument(
        "--full_shard",
        dest="sharding",
        action="store_const",
        const="full_shard",
        help="shard the parameters as well (ZeRO-3)",
    )
    return parser
