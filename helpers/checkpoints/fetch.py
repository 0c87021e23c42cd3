"""Fetching a large file: it goes on where it stopped, and is checked by size and hash."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import http_stream_backoff

from common.errors import UserError, one_line

ATTEMPTS = 5  # in a row that bring nothing
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Remote:
    """A file on a server, whose content is known beforehand.

    Attributes:
        url: its address.
        size: its bytes.
        digest: their SHA-256, or git's SHA-1, which the hub gives for its small files.
        headers: what to send along.
    """

    url: str
    size: int
    digest: str
    headers: dict[str, str] = field(default_factory=dict)


def is_intact(path: Path, size: int, digest: str) -> bool:
    """Whether a file is there and is the one with this size and digest (as in `Remote`)."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        if len(digest) == SHA256_DIGITS:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
        return hashlib.sha1(b"blob %d\0" % size + file.read(), usedforsecurity=False).hexdigest() == digest


def partial_file(path: Path) -> Path:
    """Where the beginning of a file waits for its rest."""
    return path.with_name(f".{path.name}.incomplete")


def bytes_here(path: Path) -> int:
    """How much of a file has been fetched before."""
    partial = partial_file(path)
    return partial.stat().st_size if partial.is_file() else 0


def fetch(remote: Remote, path: Path, advance: Callable[[int], object]) -> None:
    """Fetches a file, or the rest of it; it appears under its name when it is whole and right.

    Args:
        remote: the file.
        path: where it goes; a file there is replaced.
        advance: told of the bytes that came; negative where some are fetched again.

    Raises:
        UserError: the connection brings nothing any more (what came is kept), or what came is not the file.
        HfHubHTTPError: the server refuses.
    """
    partial = partial_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    fruitless = 0
    while (start := bytes_here(path)) < remote.size:
        failure = "it sent less than it had announced"
        try:
            _append(remote, partial, advance)
        except HfHubHTTPError as error:
            if error.response.status_code == 416:  # the server's file ends before ours does
                partial.unlink()
            raise
        except HTTPError as error:
            failure = one_line(error)
        here = bytes_here(path)
        fruitless = fruitless + 1 if here <= start else 0
        if fruitless == ATTEMPTS:
            raise UserError(
                f"{remote.url}: {failure}; {here} of {remote.size} bytes are kept, run the command again to go on"
            )
        if here < remote.size:
            time.sleep(1 + fruitless)
    if not is_intact(partial, remote.size, remote.digest):
        partial.unlink()
        raise UserError(
            f"{remote.url}: what came differs from what was announced in size or hash and is deleted; "
            "run the command again"
        )
    partial.replace(path)


def _append(remote: Remote, partial: Path, advance: Callable[[int], object]) -> None:
    with partial.open("ab") as file:
        start = file.tell()
        # Compressed, the bytes could be neither counted nor continued.
        headers = {**remote.headers, "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with http_stream_backoff(
            "GET",
            remote.url,
            headers=headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            retry_on_exceptions=(),  # `fetch` does, from where it stopped
        ) as response:
            hf_raise_for_status(response)
            if start and response.status_code != 206:  # the server starts from the beginning
                file.truncate(0)
                advance(-start)
            for chunk in response.iter_bytes():
                part = chunk[: remote.size - file.tell()]  # a server that does not end fills no disk
                file.write(part)
                advance(len(part))
                if file.tell() == remote.size:
                    break
