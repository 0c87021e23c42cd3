"""Bytes from web servers: whole files and ranges, over connections kept open, with time limits."""

import errno
import os
import random
import time
from functools import lru_cache
from typing import NamedTuple

import urllib3

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
    wanted = {} if start is None else {"Range": f"bytes={start}-{start + size - 1}"}
    for attempt in range(1, ATTEMPTS + 1):
        # Drawn, so that many workers do not come back at once.
        pause = BACK_OFF * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        try:
            response = _pool(os.getpid()).request(
                "GET",
                address,
                headers=wanted,
                preload_content=False,
                retries=_ONLY_REDIRECTS,
                timeout=TIMEOUT,
            )
            try:
                if response.status not in _TRY_AGAIN:
                    return _part(response, address, start, size)
                reason = f"HTTP {response.status}"
                asked = response.headers.get("Retry-After", "")
                pause = max(pause, float(asked)) if asked.isdigit() else pause
            finally:
                response.drain_conn()  # so that the connection can be used again
        except urllib3.exceptions.HTTPError as error:  # of the connection, or of what came over it
            cause = getattr(error, "reason", error)  # urllib3 wraps it
            reason = str(cause).rpartition(": ")[2][:80] or type(cause).__name__
        if attempt < ATTEMPTS:
            time.sleep(min(pause, LONGEST_WAIT))
    raise Unreachable(errno.EIO, f"{reason} in {ATTEMPTS} attempts", address)


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
