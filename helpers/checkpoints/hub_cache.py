"""The Hugging Face hub's cache: what is in it, and what a file of the hub is."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from common.errors import UserError
from helpers.checkpoints.fetch import Remote
from helpers.checkpoints.released import HubFile

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Located:
    """A file found on the hub.

    Attributes:
        repository: where.
        name: its path there.
        remote: how to fetch it.
    """

    repository: str
    name: str
    remote: Remote

    @property
    def blob(self) -> Path:
        """Where the cache keeps its content."""
        return cache() / self.folder / "blobs" / self.remote.digest

    @property
    def folder(self) -> str:
        """What the cache calls the repository."""
        return repo_folder_name(repo_id=self.repository, repo_type="model")

    def enter(self) -> None:
        """Makes the cache know the content that lies in `blob` by its name, for offline use as well."""
        hf_hub_download(self.repository, self.name)


def cache() -> Path:
    """The cache's folder."""
    return Path(constants.HF_HUB_CACHE)


def lock(folder: str, digest: str) -> AbstractContextManager:
    """Held by whoever fetches the file of a digest into a folder of the cache, as the hub's library does."""
    path = cache() / ".locks" / folder / f"{digest}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return WeakFileLock(path)


def locate(file: HubFile) -> Located | None:
    """Asks the hub for a file's size and hash.

    Returns:
        The file; None if it is an optional one that the hub does not have.

    Raises:
        UserError: the hub does not have it, or does not say its hash.
        HTTPError: there is no connection, or the hub refuses.
    """
    for name in file.names:
        url = hf_hub_url(file.repository, name)
        try:
            metadata = get_hf_file_metadata(url, retry_on_errors=True)
        except RemoteEntryNotFoundError:
            continue
        if metadata.size is None or metadata.commit_hash is None or not _DIGEST.fullmatch(metadata.etag or ""):
            raise UserError(f"{url}: comes without commit, size or hash, and could not be checked; check HF_ENDPOINT")
        # Of this commit: what was announced stays true whatever happens on the hub meanwhile.
        url = hf_hub_url(file.repository, name, revision=metadata.commit_hash)
        return Located(file.repository, name, Remote(url, metadata.size, metadata.etag, build_hf_headers()))
    if file.optional:
        return None
    raise UserError(
        f"{constants.ENDPOINT}: repository {file.repository} has no file {' or '.join(file.names)}; check HF_ENDPOINT"
    )


def find_cached(file: HubFile) -> Path | None:
    """A file in the cache, without asking the hub."""
    for name in file.names:
        path = try_to_load_from_cache(file.repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def cached_digest(path: Path) -> str | None:
    """The digest of a file in the cache, which names its content where the system has symbolic links."""
    name = path.resolve().name
    return name if _DIGEST.fullmatch(name) else None
