"""Bytes from web servers and object stores: whole files and ranges.

Web servers are read over connections that are kept open, with time limits; all other addresses by fsspec.
"""

import errno
import os
import random
import time
from functools import lru_cache
from typing import NamedTuple

import fsspec
import urllib3

from common.errors import UserError, one_line

ATTEMPTS = 5
BACK_OFF = 0.25  # seconds before the second attempt; doubles with each further one
LONGEST_WAIT = 30.0  # seconds, also where a server asks for more
TIMEOUT = urllib3.Timeout(connect=10, read=30)  # seconds; of a read: without a byte
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_ONLY_REDIRECTS = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


class Unreachable(OSError):
    """A server did not give what was asked for, in all attempts; or what it gave is not that."""


class Part(NamedTuple):
    """Some of a file's bytes, and the size of all of it."""

    content: bytes
    total: int


def fetch(address: str, start: int | None = None, size: int = 0) -> Part:
    """Reads a file, or `size` bytes of it from `start` on.

    Raises:
        FileNotFoundError: the server has no such file.
        Unreachable: it refuses, cannot be reached, is too slow, breaks off, or does not know of ranges.
    """
    read = _from_web if is_web(address) else _from_store
    for attempt in range(1, ATTEMPTS + 1):
        # Drawn, so that many workers do not come back at once.
        pause = BACK_OFF * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        try:
            return read(address, start, size)
        except _TryAgainError as error:
            reason = str(error)
            pause = max(pause, error.pause)
        if attempt < ATTEMPTS:
            time.sleep(min(pause, LONGEST_WAIT))
    raise Unreachable(errno.EIO, f"{reason} in {ATTEMPTS} attempts", address)


class _TryAgainError(Exception):
    """An attempt that may succeed later. `pause`: seconds that the server asks for."""

    pause = 0.0


def is_web(address: str) -> bool:
    """Whether a web server has it; other addresses are read by fsspec."""
    return address.startswith(("http://", "https://"))


def check_protocol(address: str) -> None:
    """Looks for what reads an address.

    Raises:
        UserError: there is no such protocol, or the package that it takes is not installed.
    """
    if not is_web(address):
        protocol = address.partition("://")[0]
        try:
            fsspec.get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:  # the message of the latter names the package
            raise UserError(f"{address}: {one_line(error)}") from None


def _from_store(address: str, start: int | None, size: int) -> Part:
    store = _store(os.getpid(), address.partition("://")[0])
    try:
        content = store.cat_file(address, start, None if start is None else start + size)
        total = len(content) if start is None else _size(os.getpid(), address)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "not found there", address) from None
    except PermissionError as error:
        raise Unreachable(errno.EACCES, one_line(error)[:80], address) from None
    except Exception as error:  # each store has errors of its own
        raise _TryAgainError(one_line(error)[:80]) from None
    if start is not None and len(content) != size:
        raise Unreachable(errno.EIO, f"{len(content)} bytes instead of {size}", address)
    return Part(content, total)


@lru_cache(maxsize=8)
def _store(_process: int, protocol: str) -> fsspec.AbstractFileSystem:
    """A process's own, as its connections."""
    return fsspec.filesystem(protocol, skip_instance_cache=True)


@lru_cache(maxsize=4096)
def _size(process: int, address: str) -> int:
    return _store(process, address.partition("://")[0]).size(address)


def _from_web(address: str, start: int | None, size: int) -> Part:
    wanted = {} if start is None else {"Range": f"bytes={start}-{start + size - 1}"}
    try:
        response = _pool(os.getpid()).request(
            "GET", address, headers=wanted, preload_content=False, retries=_ONLY_REDIRECTS, timeout=TIMEOUT
        )
        try:
            if response.status not in _TRY_AGAIN:
                return _part(response, address, start, size)
            failed = _TryAgainError(f"HTTP {response.status}")
            asked = response.headers.get("Retry-After", "")
            failed.pause = float(asked) if asked.isdigit() else 0.0
        finally:
            response.drain_conn()  # so that the connection can be used again
    except urllib3.exceptions.HTTPError as error:  # of the connection, or of what came over it
        cause = getattr(error, "reason", error)  # urllib3 wraps it
        raise _TryAgainError(str(cause).rpartition(": ")[2][:80] or type(cause).__name__) from None
    raise failed


def _part(response: urllib3.BaseHTTPResponse, address: str, start: int | None, size: int) -> Part:
    if response.status == 404:
        raise FileNotFoundError(errno.ENOENT, "not found on the server", address)
    if response.status != (200 if start is None else 206):
        ranges = ", it does not know of ranges" if response.status == 200 else ""
        response.close()  # rather than read a whole shard
        raise Unreachable(errno.EIO, f"HTTP {response.status}{ranges}", address)
    content = response.read()
    if start is None:
        return Part(content, len(content))
    if len(content) != size:
        raise Unreachable(errno.EIO, f"{len(content)} bytes instead of {size}", address)
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return Part(content, int(total) if total.isdigit() else -1)


@lru_cache(maxsize=2)
def _pool(_process: int) -> urllib3.PoolManager:
    """Connections of a process: those of the one that it was forked from cannot be shared."""
    return urllib3.PoolManager(maxsize=16)
