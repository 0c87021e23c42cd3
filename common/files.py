"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import psutil

from common.errors import UserError

_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")  # the names of `temporary_name`, with the process's number
ROOT = Path(__file__).resolve().parent.parent  # the project's folder


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Has `write` write a temporary file beside `path`, then renames it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """This process's name for a file until it is whole; `remove_leftovers` knows it."""
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # the name may have the greatest length
    return path.with_name(f".{short}.{os.getpid()}.tmp")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically."""
    write_atomically(path, lambda name: name.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Writes a text atomically, in UTF-8; letters that are not Unicode become escapes, which JSON reads back."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes JSON atomically."""
    write_text(path, json_text(content, indent))


def json_text(content: Any, indent: int | None = None) -> str:
    """The text that `write_json` writes; NaN and infinity, which JSON lacks, become null."""
    plain = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return json.dumps(plain, indent=indent, ensure_ascii=False) + "\n"


def open_file(path: Path) -> BinaryIO:
    """Opens a file for reading; refuses pipes, which may block, and devices, which may have no end (`OSError`)."""
    if not stat.S_ISREG(mode := path.stat().st_mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "is a pipe, a socket or a device, and no file", str(path))
    return path.open("rb")


def numbered(path: Path, beside: Sequence[str] = ()) -> Path:
    """`path` if it does not exist, else the first free of `<stem>_2<suffix>`, `<stem>_3<suffix>`, ...

    Args:
        path: the file.
        beside: endings of the stems of files that go with it; these must not exist, either.
    """
    names = chain([path], (path.with_stem(f"{path.stem}_{number}") for number in count(2)))

    def is_free(name: Path) -> bool:
        return not any(os.path.lexists(name.with_stem(name.stem + ending)) for ending in ("", *beside))

    return next(filter(is_free, names))


def leads_out(name: str, folder: Path | None = None) -> bool:
    """Whether a path from untrusted data leaves its folder.

    Args:
        name: the path, which should be relative.
        folder: its start, to follow links on the way; None if the folder is not on this machine.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        return True
    return folder is not None and not (folder / path.parent).resolve().is_relative_to(folder.resolve())


def check_dataset(name: str) -> None:
    """Refuses a data set's folder that is not below the folder of data, since labels are written to the same path."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"data set '{name}': name a folder below data_path, and the rest by data_path")


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Adds one record to a file of JSON lines, on a new line if the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
        line = json_text(record).encode("utf-8", "backslashreplace")
        file.write(line if file.read() in (b"", b"\n") else b"\n" + line)


def remove_leftovers(folder: Path) -> list[str]:
    """Removes the temporary files of killed processes from a folder; returns the names of all others in it."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    others = []
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        # A file with the number of this process is an earlier one's, by chance.
        if match and (int(match[1]) == os.getpid() or not psutil.pid_exists(int(match[1]))):
            (folder / name).unlink(missing_ok=True)
        else:
            others.append(name)
    return others


def here_or_in_project(folder: Path) -> Path:
    """A relative folder if it exists, else the project's: the library runs from anywhere."""
    return folder if folder.is_dir() else ROOT / folder
