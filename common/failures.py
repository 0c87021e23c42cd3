"""Failures of the machine and of other processes, each explained in a line with its remedy."""

import errno
import os
import re
import select
import signal
import sys

from common.errors import UserError

USER_ERROR = 2  # argparse's own code for bad arguments
LOST_PROCESS = 4  # another process of the run died or hangs
_READ_ENOUGH = 128 + signal.SIGPIPE  # as a shell tells of it
_ROOM = "free some space or choose another folder"
_RIGHTS = "choose another folder, or let this one be written to"
_IN_THE_WAY = "move the existing file away, or choose another folder"
_FILES = "raise the limit with ulimit -n, or set num_workers lower"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _IN_THE_WAY),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    errno.ENAMETOOLONG: "shorten it",
    errno.ENOENT: "check the path, or choose another folder",
}
# A pattern in the messages of torch and Python, its explanation, and the exit code.
_FAILURES = [
    (
        # torch's wrapper of an error in a worker lacks the error's number.
        r"insufficient shared memory|Bus error|shared memory\(shm\)|shared memory object|</torch_\d",
        "/dev/shm is full, through which workers pass samples; enlarge it (docker run --shm-size=8g), or set "
        "num_workers: 0",
        USER_ERROR,
    ),
    (
        r"DataLoader worker .*(killed by signal|exited unexpectedly)|process pool was terminated abruptly",
        "a process that reads data was killed, most often because memory ran out; set num_workers lower, "
        "and start again",
        LOST_PROCESS,
    ),
    (
        r"closed by peer|reset by peer|Broken pipe|Timed out waiting"  # gloo
        r"|remote process exited|NCCL communicator was aborted",
        "another process of this run died or hangs; train on with --from_checkpoint",
        LOST_PROCESS,
    ),
    (
        r"out of memory|can't allocate memory|MemoryError",
        "memory ran out; set the batch size or num_workers lower, or take a smaller model",
        USER_ERROR,
    ),
    (r"items of ancdata|Too many open files", f"too many files are open; {_FILES}", USER_ERROR),
]
_NUMBER = re.compile(r"\[Errno (\d+)\] ")


def explained(error: Exception) -> tuple[str, int] | None:
    """A line about an error of the user or the machine, and the exit code; None for a defect of ours.

    The line is empty after a pipe such as `| head` has read enough.
    """
    if isinstance(error, UserError):
        return str(error), USER_ERROR
    if not isinstance(error, RuntimeError | MemoryError | OSError):
        return None
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return "", _READ_ENOUGH
    text = f"{type(error).__name__}: {error} {error.__cause__}"
    for pattern, line, code in _FAILURES:
        if re.search(pattern, text):
            return line, code
    if isinstance(error, OSError):
        # An error of a worker arrives as a text.
        number = error.errno or next(map(int, reversed(_NUMBER.findall(text))), None)
        if number is not None:
            where = f" ({error.filename})" if error.filename else ""
            remedy = f": {_REMEDIES[number]}" if number in _REMEDIES else ""
            return f"{os.strerror(number)}{where}{remedy}", USER_ERROR
    return None


def _reader_is_gone() -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return True
    outputs = select.poll()
    for number in (1, 2):
        outputs.register(number, 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def flush_output() -> int:
    """Flushes stdout; the exit code if that fails, else 0."""
    if sys.stdout is None:
        return 0
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and print that it failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return _READ_ENOUGH
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    return 0
