"""Fetching a large file: an interrupted download resumes, and the size and hash are checked.

The hub's own library keeps no partial file for the next run and checks no hash of a plain HTTP download.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import http_stream_backoff

from common.errors import UserError, one_line

ATTEMPTS = 5  # in a row without a new byte
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Remote:
    """A file on a server whose content is known beforehand.

    Attributes:
        url: its address.
        size: in bytes.
        digest: SHA-256 of the content, or git's SHA-1, which the hub gives for small files.
        headers: sent with each request.
    """

    url: str
    size: int
    digest: str
    headers: dict[str, str] = field(default_factory=dict)

    def is_at(self, path: Path) -> bool:
        """Whether a path holds this file, by size and hash."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with path.open("rb") as file:
            if len(self.digest) == SHA256_DIGITS:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.digest
            content = b"blob %d\0" % self.size + file.read()
            return hashlib.sha1(content, usedforsecurity=False).hexdigest() == self.digest


def partial_file(path: Path) -> Path:
    """The partial download of a file."""
    return path.with_name(f".{path.name}.incomplete")


def bytes_here(path: Path) -> int:
    """How many bytes of a file earlier runs have downloaded."""
    partial = partial_file(path)
    return partial.stat().st_size if partial.is_file() else 0


def fetch(remote: Remote, path: Path, advance: Callable[[int], object]) -> None:
    """Downloads a file, or the rest of it. It appears under its name once it is complete and verified.

    Args:
        remote: the file.
        path: where to put it; replaces an existing file.
        advance: receives the number of new bytes; negative where the download starts over.

    Raises:
        UserError: the connection brings no more bytes (the partial file is kept), or the content is wrong.
        HfHubHTTPError: the server refuses.
    """
    partial = partial_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    failures = 0
    while (start := bytes_here(path)) < remote.size:
        reason = "it sent less than it had announced"
        try:
            _append(remote, partial, advance)
        except HfHubHTTPError as error:
            if error.response.status_code == 416:  # the server's file ends before ours
                partial.unlink()
            raise
        except HTTPError as error:
            reason = one_line(error)
        here = bytes_here(path)
        failures = failures + 1 if here <= start else 0
        if failures == ATTEMPTS:
            raise UserError(
                f"{remote.url}: {reason}; {here} of {remote.size} bytes are kept, run the command again to resume"
            )
        if here < remote.size:
            time.sleep(1 + failures)
    if not remote.is_at(partial):
        partial.unlink()
        raise UserError(
            f"{remote.url}: the content differs from what was announced in size or hash and is deleted; "
            "run the command again"
        )
    partial.replace(path)


def _append(remote: Remote, partial: Path, advance: Callable[[int], object]) -> None:
    with partial.open("ab") as file:
        start = file.tell()
        # Compressed bytes could neither be counted nor resumed.
        headers = {**remote.headers, "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        # `fetch` retries, from where the connection broke.
        with http_stream_backoff(
            "GET", remote.url, headers=headers, timeout=timeout, retry_on_exceptions=()
        ) as response:
            hf_raise_for_status(response)
            if start and response.status_code != 206:  # the server ignores ranges and starts over
                file.truncate(0)
                advance(-start)
            for chunk in response.iter_bytes():
                part = chunk[: remote.size - file.tell()]  # an endless response must not fill the disk
                file.write(part)
                advance(len(part))
                if file.tell() == remote.size:
                    break
