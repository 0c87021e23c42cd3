"""What ends a run and is no defect of ours, each in a line with what to do about it."""

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
_IN_THE_WAY = "move what is there away, or choose another folder"
_FILES = "raise the limit with ulimit -n, or set num_workers lower"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _IN_THE_WAY),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    errno.ENAMETOOLONG: "shorten it",
}
# What torch and Python say of the machine, what that means, and the exit code.
_FAILURES = [
    (
        # In a worker, torch's wrapper says so without the number of the error.
        r"insufficient shared memory|Bus error|shared memory\(shm\)|shared memory object|</torch_\d",
        "/dev/shm is full, through which num_workers pass what they read; enlarge it (docker run "
        "--shm-size=8g), or set num_workers: 0",
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
    """A line about what is no defect of ours, and the exit code; None: it is one.

    The line is empty where nothing needs to be said: `| head` has read enough.
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
        # What was raised in a worker has come as a text.
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


def printed() -> int:
    """Has what was printed reach its reader; the exit code if it does not, else 0."""
    if sys.stdout is None:
        return 0
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try it again at the end, and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return _READ_ENOUGH
        print(f"error: what is printed cannot be written: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    return 0
