"""Downloading the released files: verifies present files, fetches the others and puts them in place."""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from tqdm import tqdm

from common.errors import UserError, one_line
from common.files import write_atomically
from common.hub import check_connection, unreachable
from common.overwrite import Outputs
from common.progress import progress_bar
from helpers.checkpoints.fetch import Remote, bytes_here, fetch
from helpers.checkpoints.released import SOURCE, HubFile, WebFile

RAW_ENDPOINT = "PRISMER_RAW_ENDPOINT"  # environment variable that names a mirror of GitHub's raw files
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class State(Enum):
    """Where a file is before the download; the value is printed."""

    PRESENT = "present"
    UNCHECKED = "present, not checked: offline"
    CACHED = "in the hub's cache"
    MISSING = "to fetch"


@dataclass
class Step:
    """The work for one file.

    Attributes:
        name: the file, for the user.
        remote: its address, size and hash.
        state: where it is.
        stored: where it is fetched to: a blob of the hub's cache, or its own place.
        target: its own place, which becomes a link to `stored`; None: it stays in the cache.
        hub_name: its repository and path, by which the hub's cache is to know it.
    """

    name: str
    remote: Remote
    state: State
    stored: Path
    target: Path | None
    hub_name: tuple[str, str] | None = None

    def fetch(self, force: bool, advance: Callable[[int], object]) -> None:
        """Fetches the file, unless a concurrent run has done so."""
        lock = cache() / ".locks" / "prismer" / f"{self.remote.digest}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not force and self.remote.is_at(self.stored):
                advance(self.remote.size)
            else:
                fetch(self.remote, self.stored, advance)

    def install(self) -> None:
        """Registers the file in the hub's cache and links it into its place."""
        if self.state is State.PRESENT and self.target is not None:
            return
        if self.hub_name is not None:
            hf_hub_download(*self.hub_name)
        if self.target is not None:
            _link(self.stored.resolve(), self.target)


def cache() -> Path:
    """The folder of the hub's cache."""
    return Path(constants.HF_HUB_CACHE)


def download(
    files: Iterable[HubFile | WebFile], *, force: bool = False, overwrite: bool = False, hide_bar: bool = False
) -> None:
    """Puts files into their places, complete and verified.

    Args:
        files: the files to download.
        force: fetch files that are present again, and replace them.
        overwrite: replace other files in their places.
        hide_bar: show no progress bar.

    Raises:
        UserError: a file cannot be downloaded (partial files are kept), or another file is in its place.
    """
    if force and is_offline_mode():
        raise UserError("--force_redownload: HF_HUB_OFFLINE is set; unset it")
    print("checking which files are present")
    with _explained_errors():
        steps = [step for file in dict.fromkeys(files) if (step := _plan(file, force)) is not None]
    # The original's training, for example, writes its own weights under the names of the released ones.
    outputs = Outputs("download_checkpoints.py", force or overwrite, "move it away if it is your own")
    outputs.check(step.target for step in steps if step.target and step.state in (State.MISSING, State.CACHED))
    width = max(len(step.name) for step in steps)
    for step in steps:
        print(f"{step.name:<{width}}  {_bytes(step.remote.size):>7}  {step.state.value}")
    missing = [step for step in steps if step.state is State.MISSING]
    with _explained_errors():
        for step in steps:
            if step.state is not State.MISSING:
                step.install()
    if not missing:
        print("nothing to fetch: all files are present")
        return
    total, here = sum(step.remote.size for step in missing), sum(bytes_here(step.stored) for step in missing)
    before = f", {_bytes(here)} of them fetched before" if here else ""
    print(f"to fetch: {len(missing)} files, {_bytes(total)}{before}")
    _check_space(missing)
    with (
        progress_bar(total=total, initial=here, unit="B", unit_scale=True, disable=hide_bar) as bar,
        _explained_errors(),
    ):
        for step in missing:
            bar.set_description(Path(step.name).name)
            step.fetch(force, bar.update)
            step.install()  # at once: a later interruption must not lose this file


def _check_space(steps: list[Step]) -> None:
    """Raises UserError where a file system has less room than its files need."""
    needed: dict[int, int] = {}  # bytes by device
    folders: dict[int, Path] = {}
    for step in steps:
        folder = _nearest_folder(step.stored)
        places = [(folder, step.remote.size - bytes_here(step.stored))]
        if step.target is not None:
            other = _nearest_folder(step.target)
            if other.stat().st_dev != folder.stat().st_dev:  # a copy; a link takes no room
                places.append((other, step.remote.size))
        for folder, size in places:
            device = folder.stat().st_dev
            folders.setdefault(device, folder)
            needed[device] = needed.get(device, 0) + size
    for device, folder in folders.items():
        free = shutil.disk_usage(folder).free
        if free < needed[device]:
            raise UserError(f"{folder}: needs {_bytes(needed[device])}, {_bytes(free)} are free; make room")


def _nearest_folder(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def _plan(file: HubFile | WebFile, force: bool) -> Step | None:
    """The step for a file; None for an optional file that does not exist."""
    if isinstance(file, WebFile):
        return _plan_web(file, force)
    return _plan_offline(file) if is_offline_mode() else _plan_hub(file, force)


def _plan_web(file: WebFile, force: bool) -> Step:
    endpoint = os.environ.get(RAW_ENDPOINT, "https://raw.githubusercontent.com").rstrip("/")
    remote = Remote(f"{endpoint}/{SOURCE}/{file.path}", file.size, file.sha256)
    state = State.PRESENT if not force and remote.is_at(file.target) else State.MISSING
    if state is State.MISSING:
        if is_offline_mode():
            raise UserError(f"{file.target}: missing or damaged, and HF_HUB_OFFLINE is set; unset it to fetch it")
        check_connection(endpoint, RAW_ENDPOINT)
    return Step(str(file.target), remote, state, file.target, file.target)


def _plan_hub(file: HubFile, force: bool) -> Step | None:
    check_connection()
    found = _locate(file)
    if found is None:
        return None
    name, remote = found
    folder = repo_folder_name(repo_id=file.repository, repo_type="model")
    blob = cache() / folder / "blobs" / remote.digest
    if not force and remote.is_at(file.target or blob):
        state = State.PRESENT
    elif not force and remote.is_at(blob):
        state = State.CACHED
    else:
        state = State.MISSING
    label = str(file.target or f"{file.repository}/{name}")
    return Step(label, remote, state, blob, file.target, (file.repository, name))


def _locate(file: HubFile) -> tuple[str, Remote] | None:
    """The first name of a file that the hub has, with its address, size and hash."""
    for name in file.names:
        url = hf_hub_url(file.repository, name)
        try:
            metadata = get_hf_file_metadata(url, retry_on_errors=True)
        except RemoteEntryNotFoundError:
            continue
        if metadata.size is None or metadata.commit_hash is None or not _DIGEST.fullmatch(metadata.etag or ""):
            raise UserError(f"{url}: has no commit, size or hash, so it could not be verified; check HF_ENDPOINT")
        # The address names this commit: a later push to the hub does not change the announced content.
        url = hf_hub_url(file.repository, name, revision=metadata.commit_hash)
        return name, Remote(url, metadata.size, metadata.etag, build_hf_headers())
    if file.optional:
        return None
    raise UserError(
        f"{constants.ENDPOINT}: repository {file.repository} has no file {' or '.join(file.names)}; check HF_ENDPOINT"
    )


def _plan_offline(file: HubFile) -> Step | None:
    target, cached = file.target, file.find_cached()
    name = str(target or f"{file.repository}/{file.names[0]}")
    if target is not None and target.is_file():
        return Step(name, Remote("", target.stat().st_size, ""), State.UNCHECKED, target, target)
    if cached is None:
        if file.optional:
            return None
        raise UserError(
            f"{name}: is neither there nor in the hub's cache {cache()}, and HF_HUB_OFFLINE is set; "
            "unset it to fetch it"
        )
    # The hash is the name of the blob, where the file system has symbolic links.
    remote = Remote("", cached.stat().st_size, cached.resolve().name)
    if _DIGEST.fullmatch(remote.digest) and not remote.is_at(cached):
        raise UserError(f"{cached}: damaged, and HF_HUB_OFFLINE is set; unset it to fetch it again")
    return Step(name, remote, State.CACHED if target else State.PRESENT, cached, target)


def _link(source: Path, target: Path) -> None:
    """Makes a hard link, or a copy where the file system cannot."""
    if target.exists() and target.samefile(source):
        return

    def place(name: Path) -> None:
        try:
            os.link(source, name)
        except OSError:
            try:
                shutil.copyfile(source, name)
            except OSError as error:  # it names the source, whichever of the two failed
                raise OSError(error.errno, error.strerror, str(target)) from None

    write_atomically(target, place)


@contextmanager
def _explained_errors() -> Iterator[None]:
    """Turns network errors into one line with the remedy."""
    try:
        yield
    except HfHubHTTPError as error:
        url, status = error.response.url.copy_with(query=None), error.response.status_code
        # The hub gives these codes for an expired token, even for public files.
        remedy = "check the token (HF_TOKEN, hf auth login)" if status in (401, 403) else "try again later"
        raise UserError(f"{url}: the server answers {status}; {remedy}, or try another HF_ENDPOINT") from None
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise UserError(f"{constants.ENDPOINT}: {unreachable(one_line(error), 'HF_ENDPOINT')}") from None


def _bytes(size: int) -> str:
    return tqdm.format_sizeof(size, "B")
