"""One run at a time trains in an experiment's folder."""

import errno
import os
import socket
from pathlib import Path

from common.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

LOCK = "lock"  # a file in the folder; it stays, the lock on it goes with the process


class RunLock:
    """Holds an experiment's folder until the process ends, however it does.

    A lock of the process rather than of the open file: data loaders' workers, which live on a little after
    their parent was killed, do not have it.

    Raises:
        UserError: another run has it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            print(f"warning: {folder} cannot be locked on this system; start no second run in it")
            return
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                print(f"warning: {folder} cannot be locked ({error.strerror}); start no second run in it")
                return
            holder = os.read(self._handle, 200).decode(errors="replace").strip() or "another process"
            os.close(self._handle)
            message = f"{folder}: {holder} trains in it; wait for it or choose another --exp_name"
            raise UserError(message) from None
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
