"""One shard that is open: its bytes at positions, from a disk or a web server."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dataset.location import Url
from dataset.remote import fetch
from dataset.shards.tar_index import TarIndex


class Background:
    """A thread of its own in each process that uses it."""

    def __init__(self) -> None:
        self._process, self._pool = 0, None

    def submit(self, job: Callable, *arguments: object) -> None:
        """Does a job later, after those before it."""
        if self._process != os.getpid():
            self._process, self._pool = os.getpid(), ThreadPoolExecutor(1)
        self._pool.submit(job, *arguments)


class TruncatedShard(OSError):
    """A shard ends before one of its records does."""


class OpenShard:
    """A shard that is open. Bytes are read at positions, so processes and threads may share it."""

    def __init__(self, place: Path | Url, index: TarIndex) -> None:
        self.place, self.index = place, index
        self._file = os.open(place, os.O_RDONLY) if isinstance(place, Path) else None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)

    def read(self, start: int, size: int) -> bytes:
        """Some of its bytes.

        Raises:
            OSError: they cannot be read, or the tar is not the one that was indexed.
        """
        if size == 0:  # a label that says "nothing here"; there is no range for it
            return b""
        if self._file is None:
            part = fetch(self.place.address, start, size)
            if part.total not in (-1, int(self.index.tar[0])):
                raise OSError(errno.ESTALE, "is not the file that was indexed; index it anew", str(self.place))
            return part.content
        content = os.pread(self._file, size, start)
        if len(content) < size:
            raise TruncatedShard(errno.EIO, f"ends {size - len(content)} bytes early", str(self.place))
        return content
