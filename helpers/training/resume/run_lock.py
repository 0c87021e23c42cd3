"""One run at a time trains in an experiment's folder.

The lock belongs to the process rather than to the open file: data loaders' workers, which outlive a killed
parent for a moment, do not hold it.
"""

import errno
import os
import re
import socket
from pathlib import Path

from common.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

LOCK = "lock"  # the file stays; the lock on it ends with the process
_MOST = 200  # bytes that are read of it
_TAKEN = (errno.EACCES, errno.EAGAIN)


def check_lock_file(folder: Path) -> None:
    """Raises UserError if another program's file has the name of the lock, which a run writes over."""
    path = folder / LOCK
    if not os.path.lexists(path):
        return
    content = b"no file"
    if path.is_file():
        with path.open("rb") as file:
            content = file.read(_MOST)
    if content and not re.fullmatch(rb"process \d+ on [^\n]*\n?", content):
        raise UserError(f"{path}: not written by a run; move it away, or choose another --exp_name")


def refuse_while_locked(folder: Path) -> None:
    """Checks that no other run trains in a folder; takes no lock.

    Raises:
        UserError: a run does.
    """
    if fcntl is None or not (folder / LOCK).is_file():
        return
    with (folder / LOCK).open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file ends it
        except OSError as error:
            if error.errno in _TAKEN:
                raise _refusal(folder, file.read(_MOST)) from None


def lock_folder(folder: Path) -> None:
    """Holds an experiment's folder, which is made, until the process ends, however it does.

    Raises:
        UserError: another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        print(f"warning: {folder} cannot be locked on this system; start no second run in it")
        return
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)  # stays open
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:
            print(f"warning: {folder} cannot be locked ({error.strerror}); start no second run in it")
            return
        holder = os.read(handle, _MOST)
        os.close(handle)
        raise _refusal(folder, holder) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _refusal(folder: Path, holder: bytes) -> UserError:
    name = holder.decode(errors="replace").strip() or "another process"
    return UserError(f"{folder}: {name} trains in it; wait for it or choose another --exp_name")
