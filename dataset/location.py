"""Data at an address: in a folder of this machine, on a web server, or in an object store (fsspec)."""

import errno
import os
import random
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlsplit

import fsspec
from pydantic import PlainValidator

from common.errors import UserError, one_line

ATTEMPTS = 5
BACK_OFF = 0.25  # seconds before the second attempt; doubles with each further one
LONGEST_WAIT = 30.0  # seconds, also where a server asks for more
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 30  # seconds; of a read: without a byte
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Unreachable(OSError):
    """A server did not answer a request in all attempts, or sent something else."""


class Part(NamedTuple):
    """Some of a file's bytes, and the size of the whole file (-1: unknown)."""

    content: bytes
    total: int


class _TryAgainError(Exception):
    """An attempt that may succeed later. `pause`: seconds that the server asks for."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def fetch(address: str, start: int | None = None, size: int = 0) -> Part:
    """Reads a file, or `size` bytes of it from `start` on.

    Raises:
        FileNotFoundError: the server has no such file.
        Unreachable: it refuses, cannot be reached, is too slow, breaks off, or ignores ranges.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _read(address, start, size)
        except _TryAgainError as error:
            # The pauses are random, so that many workers do not return at the same moment.
            pause = max(BACK_OFF * 2 ** (attempt - 1) * random.uniform(0.75, 1.25), error.pause)
            reason = str(error)
        if attempt < ATTEMPTS:
            time.sleep(min(pause, LONGEST_WAIT))
    raise Unreachable(errno.EIO, f"{reason} in {ATTEMPTS} attempts", address)


def _read(address: str, start: int | None, size: int) -> Part:
    store = _store(os.getpid(), address.partition("://")[0])
    end = None if start is None else start + size
    try:
        if _is_web(address):
            content, total = _read_web(store, address, start, end)
        else:
            content = store.cat_file(address, start, end)
            total = len(content) if start is None else _size(os.getpid(), address)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "not found there", address) from None
    except PermissionError as error:
        raise Unreachable(errno.EACCES, _reason(error), address) from None
    except (Unreachable, _TryAgainError):
        raise
    except TimeoutError:
        raise _TryAgainError("no answer in time") from None
    except Exception as error:  # each store has errors of its own
        raise _TryAgainError(_reason(error)) from None
    if start is not None and len(content) != size:
        raise Unreachable(errno.EIO, f"{len(content)} bytes instead of {size}", address)
    return Part(content, total)


def _reason(error: Exception) -> str:
    """An error's message without the query of an address, which may hold a key."""
    text = getattr(getattr(error, "os_error", None), "strerror", None) or one_line(error)  # aiohttp wraps errors
    return re.sub(r"\?[^\s'\"]+", "", text)[:80]


def _read_web(store: fsspec.AbstractFileSystem, address: str, start: int | None, end: int | None) -> tuple[bytes, int]:
    total = -1

    async def check(response: Any) -> None:
        """Judges the head of an answer, so that no whole shard is read by mistake."""
        nonlocal total
        status, size = response.status, response.headers.get("Content-Range", "").rpartition("/")[2]
        total = int(size) if size.isdigit() else -1
        if status in (404, 200 if start is None else 206):
            return
        response.close()
        if status in _TRY_AGAIN:
            pause = response.headers.get("Retry-After", "")
            raise _TryAgainError(f"HTTP {status}", float(pause) if pause.isdigit() else 0.0)
        ranges = ", it does not know of ranges" if status == 200 else ""
        raise Unreachable(errno.EIO, f"HTTP {status}{ranges}", address)

    return store.cat_file(address, start, end, raise_for_status=check), total


@lru_cache(maxsize=8)
def _store(_process: int, protocol: str) -> fsspec.AbstractFileSystem:
    """A file system of this process alone: a forked process cannot share connections."""
    options = {}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
        # Not compressed: a range of compressed bytes would be another range.
        options = {"encoded": True, "timeout": timeout, "headers": {"Accept-Encoding": "identity"}}
    return fsspec.filesystem(protocol, skip_instance_cache=True, **options)


@lru_cache(maxsize=4096)
def _size(process: int, address: str) -> int:
    return _store(process, address.partition("://")[0]).size(address)


def _is_web(address: str) -> bool:
    return address.startswith(("http://", "https://"))


@dataclass(frozen=True)
class Url:
    """A file or folder at an address, used as a `Path` is; a folder there is not listed.

    Attributes:
        address: `http://` or `https://`, percent-encoded, or any that fsspec knows, such as `s3://`.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: "str | Path") -> "Url":
        below = PurePosixPath(name).as_posix()
        if below == ".":
            return self
        return Url(f"{self.address.rstrip('/')}/{quote(below) if _is_web(self.address) else below}")

    @property
    def suffix(self) -> str:
        """The suffix of its name, with the dot."""
        return PurePosixPath(urlsplit(self.address).path).suffix

    def is_file(self) -> bool:
        """Whether the server has such a file."""
        try:
            self.read_bytes()
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """The whole file; see `fetch` for errors."""
        return fetch(self.address).content


def as_location(place: "str | Path | Url") -> Path | Url:
    """A folder, or an address, from its text in a config.

    Raises:
        UserError: it is empty, or its protocol is unknown or needs a package that is not installed.
    """
    if isinstance(place, Url):
        return place
    text = str(place)
    if not text:
        raise UserError("an empty path; name a folder, or . for this one")
    if "://" not in text:
        return Path(text)
    try:
        fsspec.get_filesystem_class(text.partition("://")[0])
    except (ValueError, ImportError) as error:  # the message of the latter names the package
        raise UserError(f"{text}: {one_line(error)}") from None
    return Url(text.rstrip("/"))


def _checked(value: Any) -> Path | Url:
    if not isinstance(value, str | Path | Url):
        raise ValueError("should be a path or an address")
    try:
        return as_location(value)
    except UserError as error:
        raise ValueError(error) from None


Location = Annotated[Path | Url, PlainValidator(_checked)]
