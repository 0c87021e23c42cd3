"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import psutil

from common.errors import UserError

_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")  # as `write_atomically` names them, with the process's number
ROOT = Path(__file__).resolve().parent.parent  # the project's folder


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a temporary name beside `path`, then renames the file that it wrote to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """What this process calls a file until it is whole; `remove_leftovers` knows it."""
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # the name may be as long as one may be
    return path.with_name(f".{short}.{os.getpid()}.tmp")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically."""
    write_atomically(path, lambda name: name.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Writes a text atomically, in UTF-8; what is not Unicode as an escape, which JSON reads back."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes JSON atomically."""
    write_text(path, json_text(content, indent))


def json_text(content: Any, indent: int | None = None) -> str:
    """What `write_json` writes: JSON has neither NaN nor infinity, so they become null."""
    options = {"indent": indent, "ensure_ascii": False, "allow_nan": False}
    try:
        text = json.dumps(content, **options)
    except ValueError:
        text = json.dumps(_with_nulls(content), **options)
    return text + "\n"


def _with_nulls(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_nulls(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_nulls(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def open_file(path: Path) -> BinaryIO:
    """Opens a file for reading. A pipe would be waited for, and a device may have no end: both are refused.

    Raises:
        OSError: it is none, or there is none.
    """
    if not stat.S_ISREG(mode := path.stat().st_mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "is a pipe, a socket or a device, and no file", str(path))
    return path.open("rb")


def numbered(path: Path, beside: Sequence[str] = ()) -> Path:
    """`path` if nothing is there, else the first free of `<stem>_2<suffix>`, `<stem>_3<suffix>`, ...

    Args:
        path: the file.
        beside: endings of the stems of files that go with it, whose places must be free, too.
    """
    names = chain([path], (path.with_stem(f"{path.stem}_{number}") for number in count(2)))

    def is_free(name: Path) -> bool:
        return not any(os.path.lexists(name.with_stem(name.stem + ending)) for ending in ("", *beside))

    return next(filter(is_free, names))


def leads_out(name: str, folder: Path | None = None) -> bool:
    """Whether a path that data gives does not stay in its folder.

    Args:
        name: the path, which should be relative.
        folder: where it starts, to look for links on the way; None if that is not on this machine.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        return True
    return folder is not None and not (folder / path.parent).resolve().is_relative_to(folder.resolve())


def check_dataset(name: str) -> None:
    """Makes sure that a data set's folder, as the user names it, is below the folder of data or that itself.

    The same path leads from the folder of labels, or of shards, to what is written.

    Raises:
        UserError: it leads elsewhere: beside the images, say, which would be taken for labels.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"data set '{name}': name a folder below data_path, and the rest by data_path")


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Adds one record to a file of JSON lines; the last one may have been cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
        line = json_text(record).encode("utf-8", "backslashreplace")
        file.write(line if file.read() in (b"", b"\n") else b"\n" + line)


def remove_leftovers(folder: Path) -> list[str]:
    """Removes the temporary files that killed processes left in a folder, before this one writes to it.

    Returns:
        The names of the other files and folders in it; none if there is no such folder.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    leftovers = {name for name in names if name.startswith(".") and _is_leftover(name)}
    for name in leftovers:
        (folder / name).unlink(missing_ok=True)
    return [name for name in names if name not in leftovers] if leftovers else names


def _is_leftover(name: str) -> bool:
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return False
    process = int(match[1])
    return process == os.getpid() or not psutil.pid_exists(process)  # this one had the number by chance


def here_or_in_project(folder: Path) -> Path:
    """A relative folder as it is if it is there, else the project's: the library runs from anywhere."""
    return folder if folder.is_dir() else ROOT / folder
