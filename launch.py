"""Starts a script on every GPU of this machine, or as generate_config.py has written for a cluster.

    python launch.py train_caption.py --exp_name prismer_base
    python launch.py --config_file machine.yaml train_caption.py --exp_name prismer_base

It is `accelerate launch`, with the same flags, but says nothing itself: the script's line is the last on the
screen, and the script's exit code the launcher's. One process needs neither.
"""

import logging
import signal
import subprocess
import sys

import psutil

from common.errors import one_line
from common.failures import USER_ERROR


def main() -> int:
    # What these say of a script that has failed would come after the script's own line.
    for name in ("accelerate.commands.launch", "torch.distributed.run", "torch.distributed.elastic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    args = launch_command_parser().parse_args()
    # Ctrl-C of a terminal reaches the script, too, which saves before it ends; SIGTERM this process alone.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, _pass_on)
    try:
        launch_command(args)
    except subprocess.CalledProcessError as error:
        return _shell_code(error.returncode)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return _shell_code(first.exitcode)
    except SignalException as error:
        return 128 + error.sigval
    except Exception as error:  # accelerate raises anything for flags and files that it cannot use
        told = f"--config_file {args.config_file}" if args.config_file else "its config file, if there is one"
        print(
            f"error: accelerate cannot start the script with these flags and {told}: "
            f"{type(error).__name__}: {one_line(error)}",
            file=sys.stderr,
        )
        return USER_ERROR
    return 0


def _pass_on(number: int, _frame: object) -> None:
    for process in psutil.Process().children():
        process.send_signal(number)


def _shell_code(code: int) -> int:
    """What a shell calls the exit code of a process that a signal ended."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
