"""Downloading what is released: what is here already is checked, the rest is fetched and put in its place."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError
from tqdm import tqdm

from common.errors import UserError, one_line
from common.files import write_atomically
from common.hub import check_connection, unreachable
from common.overwrite import Outputs
from common.progress import progress_bar
from helpers.checkpoints import hub_cache
from helpers.checkpoints.fetch import Remote, bytes_here, fetch, is_intact
from helpers.checkpoints.released import SOURCE, HubFile, WebFile

RAW_ENDPOINT = "PRISMER_RAW_ENDPOINT"  # the environment's name for a mirror of GitHub's raw files


class State(Enum):
    """Where a file is before anything is fetched; the value is what the user reads."""

    PRESENT = "present"
    UNCHECKED = "present, not checked: offline"
    CACHED = "in the hub's cache"
    MISSING = "to fetch"


@dataclass(frozen=True)
class Step:
    """What there is to do for one file.

    Attributes:
        name: the file, for the user.
        size: its bytes.
        state: where it is.
        stored: where its bytes are fetched to.
        target: where they are linked or copied to from there, or the same; None if they stay in the cache.
        fetch: fetches it if it is missing.
        install: puts it into its place.
    """

    name: str
    size: int
    state: State
    stored: Path
    target: Path | None
    fetch: Callable[[Callable[[int], object]], None]
    install: Callable[[], object]


def download(
    files: Iterable[HubFile | WebFile],
    *,
    force: bool = False,
    overwrite: bool = False,
    hide_bar: bool = False,
) -> None:
    """Sees to it that files are in their places, whole and right.

    Args:
        files: which.
        force: fetch those again that are here, and replace what is in their places.
        overwrite: replace other files in their places.
        hide_bar: no progress bar.

    Raises:
        UserError: one of them is not to be had (what came so far is kept), or another file is in its place.
    """
    if force and is_offline_mode():
        raise UserError("--force_redownload: HF_HUB_OFFLINE is set; unset it")
    print("checking what is here")
    with _explained_errors():
        steps = [step for file in dict.fromkeys(files) if (step := _plan(file, force)) is not None]
    # A run of the original, for one, leaves its own weights under the very names of the released ones.
    outputs = Outputs("download_checkpoints.py", force or overwrite, "move it away if it is your own")
    outputs.check(step.target for step in steps if step.target and step.state in (State.MISSING, State.CACHED))
    width = max(len(step.name) for step in steps)
    for step in steps:
        print(f"{step.name:<{width}}  {_bytes(step.size):>7}  {step.state.value}")
    missing = [step for step in steps if step.state is State.MISSING]
    with _explained_errors():
        for step in steps:
            if step.state is not State.MISSING:
                step.install()
    if missing:
        _fetch(missing, hide_bar)
    else:
        print("nothing to fetch: all of it is here")


def _fetch(steps: list[Step], hide_bar: bool) -> None:
    total, here = sum(step.size for step in steps), sum(bytes_here(step.stored) for step in steps)
    before = f", of which {_bytes(here)} came before" if here else ""
    print(f"to fetch: {len(steps)} files, {_bytes(total)}{before}")
    for folder, needed in _space_needed(steps):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(f"{folder}: {_bytes(needed)} are needed there, {_bytes(free)} are free; make room")
    with (
        progress_bar(total=total, initial=here, unit="B", unit_scale=True, disable=hide_bar) as bar,
        _explained_errors(),
    ):
        for step in steps:
            bar.set_description(Path(step.name).name)
            step.fetch(bar.update)
            step.install()  # at once: an interruption later must not cost this one


def _space_needed(steps: list[Step]) -> Iterable[tuple[Path, int]]:
    """By file system: a folder that is on it, and the bytes that are still to come there."""
    needed: dict[int, tuple[Path, int]] = {}
    for step in steps:
        folders = [(step.stored, step.size - bytes_here(step.stored))]
        if step.target is not None and _device(step.target) != _device(step.stored):  # a copy, not a link
            folders.append((step.target, step.size))
        for path, size in folders:
            folder, before = needed.get(_device(path), (_nearest(path), 0))
            needed[_device(path)] = folder, before + size
    return needed.values()


def _nearest(path: Path) -> Path:
    """The nearest folder above a path that is there."""
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def _device(path: Path) -> int:
    return _nearest(path).stat().st_dev


def _plan(file: HubFile | WebFile, force: bool) -> Step | None:
    """The step for a file; None for an optional one that there is not."""
    if isinstance(file, WebFile):
        return _plan_web(file, force)
    return _plan_offline(file) if is_offline_mode() else _plan_hub(file, force)


def _plan_web(file: WebFile, force: bool) -> Step:
    endpoint = os.environ.get(RAW_ENDPOINT, "https://raw.githubusercontent.com").rstrip("/")
    remote = Remote(f"{endpoint}/{SOURCE}/{file.path}", file.size, file.sha256)
    present = not force and is_intact(file.target, file.size, file.sha256)
    if not present and is_offline_mode():
        raise UserError(f"{file.target}: is not here or damaged, and HF_HUB_OFFLINE is set; unset it to fetch it")
    if not present:
        check_connection(endpoint, RAW_ENDPOINT)
    return Step(
        str(file.target),
        file.size,
        State.PRESENT if present else State.MISSING,
        file.target,
        file.target,
        lambda advance: _fetch_once(remote, file.target, "raw", force, advance),
        _nothing,
    )


def _plan_hub(file: HubFile, force: bool) -> Step | None:
    check_connection()
    located = hub_cache.locate(file)
    if located is None:
        return None
    remote, target = located.remote, file.target
    state = State.MISSING
    if not force:
        if target is not None and is_intact(target, remote.size, remote.digest):
            state = State.PRESENT
        elif is_intact(located.blob, remote.size, remote.digest):
            state = State.PRESENT if target is None else State.CACHED

    def install() -> None:
        if state is State.PRESENT and target is not None:
            return
        located.enter()
        if target is not None:
            _link(located.blob, target)

    name = str(target or f"{file.repository}/{located.name}")
    return Step(
        name,
        remote.size,
        state,
        located.blob,
        target,
        lambda advance: _fetch_once(remote, located.blob, located.folder, force, advance),
        install,
    )


def _plan_offline(file: HubFile) -> Step | None:
    """The step for a file of the hub when only its cache may be asked."""
    target, cached = file.target, hub_cache.find_cached(file)
    name = str(target or f"{file.repository}/{file.names[0]}")
    if target is not None and target.is_file():
        return Step(name, target.stat().st_size, State.UNCHECKED, target, None, _nothing, _nothing)
    if cached is None:
        if file.optional:
            return None
        raise UserError(
            f"{name}: is not here, nor in the hub's cache {hub_cache.cache()}, and HF_HUB_OFFLINE is set; "
            "unset it to fetch it"
        )
    size, digest = cached.stat().st_size, hub_cache.cached_digest(cached)
    if digest is not None and not is_intact(cached, size, digest):
        raise UserError(f"{cached}: damaged, and HF_HUB_OFFLINE is set; unset it to fetch it again")
    if target is None:
        return Step(name, size, State.PRESENT, cached, None, _nothing, _nothing)
    return Step(name, size, State.CACHED, cached, target, _nothing, lambda: _link(cached, target))


def _fetch_once(remote: Remote, path: Path, folder: str, force: bool, advance: Callable[[int], object]) -> None:
    """Fetches a file, unless another run that is at it meanwhile is faster."""
    with hub_cache.lock(folder, remote.digest):
        if not force and is_intact(path, remote.size, remote.digest):
            advance(remote.size)
        else:
            fetch(remote, path, advance)


def _nothing(*_: object) -> None:
    """What is left to do for a file that is in its place."""


def _link(source: Path, target: Path) -> None:
    """Gives a file of the cache a second name; copies it to where that cannot be done."""
    source = source.resolve()
    if target.exists() and target.samefile(source):
        return

    def place(name: Path) -> None:
        try:
            os.link(source, name)
        except OSError:  # another file system, or one without links
            try:
                shutil.copyfile(source, name)
            except OSError as error:  # names the source, whatever went wrong
                raise OSError(error.errno, error.strerror, str(target)) from None

    write_atomically(target, place)


@contextmanager
def _explained_errors() -> Iterator[None]:
    """Says in a line what went wrong on the way to a server."""
    try:
        yield
    except HfHubHTTPError as error:
        url, status = error.response.url.copy_with(query=None), error.response.status_code
        token = status in (401, 403)  # what the hub answers to one that has expired, for public files as well
        remedy = "check the token (HF_TOKEN, hf auth login)" if token else "try again later"
        raise UserError(f"{url}: the server answers {status}; {remedy}, or try another HF_ENDPOINT") from None
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise UserError(f"{constants.ENDPOINT}: {unreachable(one_line(error), 'HF_ENDPOINT')}") from None


def _bytes(size: int) -> str:
    return tqdm.format_sizeof(size, "B")
