"""How the scripts start and end: one line and an exit code for a user's mistake, no stack trace."""

import argparse
import errno
import re
import signal
import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from model.errors import UserError

USER_ERROR = 2  # argparse's own code for bad arguments
UNREADABLE_IMAGES = 3  # the work is done, but for images that cannot be read
LOST_PROCESS = 4  # another process of the run died or hangs
_ROOM = "free some space or choose another folder"
_RIGHTS = "choose another folder, or let this one be written to"
_IN_THE_WAY = "move what is there away, or choose another folder"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _IN_THE_WAY),
}
_LOST = re.compile(
    r"closed by peer|reset by peer|Broken pipe|Timed out waiting"  # gloo
    r"|remote process exited|NCCL communicator was aborted"
)


class Stopped(KeyboardInterrupt):
    """A signal ends a run. `number`: the signal."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number

    @classmethod
    def by(cls, number: int) -> "Stopped":
        """By this signal."""
        return cls(f"stopped by {signal.Signals(number).name}", number)


def run(main: Callable[[], int | None]) -> None:
    """Runs a script's main function and exits with its code.

    A `UserError`, and a file that cannot be written, become one line on stderr and exit code 2.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # whose encoding may lack letters of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow's, of a large photo that it reads all the same; what it takes for a bomb is an error.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    try:
        code = main() or 0
    except UserError as error:
        # A data loader's worker wraps the message in a stack trace: the last line is the message itself.
        message = str(error).strip().splitlines()[-1].removeprefix("model.errors.UserError: ")
        print(f"error: {message}", file=sys.stderr)
        code = USER_ERROR
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        code = 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)  # as a shell tells of it
    except RuntimeError as error:
        if _LOST.search(str(error)) is None:  # what gloo and NCCL say in a collective operation
            raise
        print(
            "error: another process of this run died or hangs; train on with --from_checkpoint",
            file=sys.stderr,
        )
        code = LOST_PROCESS
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{where}: {_REMEDIES[error.errno]}", file=sys.stderr)
        code = USER_ERROR
    sys.exit(code)


def natural(text: str) -> int:
    """A flag's value that counts something: at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def whole(text: str) -> int:
    """A flag's value that may be 0, which is "none"."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def names(text: str) -> list[str]:
    """For argparse: names separated by commas; `none` is no name."""
    return [] if text == "none" else text.split(",")


def printable(name: str) -> str:
    """A file's name on one line: line breaks, and what is not Unicode, as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name
    )


def training_parser(description: str, config: str) -> argparse.ArgumentParser:
    """The flags that every training script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--exp_name", required=True, help="the experiment; names its folder under logging/")
    parser.add_argument("--config", type=Path, default=Path(config), help="YAML file (default: %(default)s)")
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
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], help="default: bf16 on a GPU")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--log_with",
        choices=["tensorboard", "wandb", "trackio", "none"],
        default="none",
        help="a tracker for what metrics.jsonl holds anyway",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoder's layers")
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
