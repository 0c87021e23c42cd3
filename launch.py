"""Starts a script on every GPU of this machine, or on a cluster with the file of generate_config.py.

    python launch.py train_caption.py --exp_name prismer_base
    python launch.py --config_file machine.yaml train_caption.py --exp_name prismer_base

It takes the flags of `accelerate launch`, but prints nothing after the script's own error line, and returns the
script's exit code. A single process needs no launcher.
"""

import logging
import signal
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

import psutil

from common.errors import one_line
from common.failures import USER_ERROR


def main() -> int:
    # They would print a traceback after the script's own error line.
    for name in ("accelerate.commands.launch", "torch.distributed.run", "torch.distributed.elastic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser = launch_command_parser()
    # Its own prints the many flags of accelerate.
    parser.error = lambda message: sys.exit(
        _refuse(f"{message}; write: python launch.py train_caption.py --exp_name x")
    )
    args = parser.parse_args()
    script = Path(args.training_script)
    if not (args.module or args.no_python or script.exists()):
        alike = get_close_matches(script.name, [path.name for path in script.parent.glob("*.py")], n=1)
        remedy = f"is {script.with_name(alike[0])} meant?" if alike else "check its path"
        return _refuse(f"{script}: no such script; {remedy}")
    if args.cpu and (args.num_processes or 1) > 1:
        return _refuse("--cpu starts one process; several CPU processes need a --config_file (docs/distributed.md)")
    # Ctrl-C in a terminal also reaches the script, which saves before it ends. SIGTERM reaches this process alone.
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
    except Exception as error:  # accelerate raises any type for wrong flags and files
        told = f"--config_file {args.config_file}" if args.config_file else "its config file, if there is one"
        problem = f"{type(error).__name__}: {one_line(error)}"
        return _refuse(f"accelerate cannot start the script with these flags and {told}: {problem}")
    return 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USER_ERROR


def _pass_on(number: int, _frame: object) -> None:
    for process in psutil.Process().children():
        process.send_signal(number)


def _shell_code(code: int) -> int:
    """The exit code as shells report it for a process that a signal ended."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
