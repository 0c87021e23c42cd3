"""Folders of training checkpoints, complete or absent: `logging/<task>_<exp_name>/checkpoints/step_00001200`.

A checkpoint is written under another name, gets its marker when all of its files are there, and is then
renamed. The marker (`checkpoint.json`) says how far the run was, and the size and SHA-256 of every file.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, first_line
from common.files import write_json
from common.strict_json import parse_json

FOLDER = "checkpoints"  # within an experiment's folder
MARKER = "checkpoint.json"
WEIGHTS = "model."  # the names of the model's tensors begin with it


def checkpoint_folder(experiment: Path, step: int) -> Path:
    """The folder of an experiment's checkpoint of a step."""
    return experiment / FOLDER / f"step_{step:08d}"


def find_checkpoints(experiment: Path) -> list[Path]:
    """An experiment's checkpoints, newest first, damaged ones included."""
    folders = [path for path in (experiment / FOLDER).glob("step_*") if path.name[5:].isdecimal()]
    return sorted(folders, key=_step, reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name[5:])


def temporary_folder(folder: Path) -> Path:
    """Where a checkpoint is written before it is complete."""
    return folder.with_name(f".{folder.name}.tmp")


def begin_checkpoint(folder: Path) -> Path:
    """Makes a checkpoint's temporary folder, and removes those of killed processes."""
    for leftover in folder.parent.glob(".step_*.tmp"):
        shutil.rmtree(leftover)
    temporary = temporary_folder(folder)
    temporary.mkdir(parents=True)
    return temporary


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def complete_checkpoint(folder: Path, marker: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    """Writes the marker and gives the folder its name.

    Args:
        folder: of `checkpoint_folder`; a damaged one of that name is replaced.
        marker: its content beside the files.
        files: their fingerprints by name.

    Raises:
        FileNotFoundError: a process wrote elsewhere.
    """
    temporary = temporary_folder(folder)
    for name in files:
        if not (temporary / name).is_file():
            raise FileNotFoundError(f"{name} was written elsewhere: all machines must share the folder")
    _write_marker(temporary, {**marker, "files": files})
    sync(temporary)
    remove_checkpoint(folder)
    temporary.rename(folder)
    sync(folder.parent)


def update_marker(folder: Path, changes: Mapping[str, Any]) -> None:
    """Changes entries of a checkpoint's marker; the files stay."""
    _write_marker(folder, {**read_marker(folder), **changes})


def _write_marker(folder: Path, content: Mapping[str, Any]) -> None:
    write_json(folder / MARKER, content, indent=1)
    sync(folder / MARKER)


def read_marker(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's marker.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / MARKER
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content["files"], dict):
            raise TypeError("'files' is no mapping")
        return content
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the checkpoint was never complete, remove it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); remove the checkpoint") from None


def damage(folder: Path, part: int = 0, parts: int = 1) -> str | None:
    """The first fault of a checkpoint; None if it is whole.

    Args:
        folder: the checkpoint.
        part, parts: hash every `parts`-th file only, from the `part`-th on: processes share the work.
    """
    try:
        files = read_marker(folder)["files"]
    except UserError as error:
        return str(error).partition(": ")[2].partition(";")[0].replace("missing", f"{MARKER} is missing")
    for index, (name, expected) in enumerate(sorted(files.items())):
        path = folder / name
        try:
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
            if index % parts == part and fingerprint(path) != expected:
                return f"{name} has another hash than when it was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, KeyError, TypeError) as error:
            return f"{name} cannot be checked: {first_line(error)}"
    return None


def remove_old(experiment: Path, keep: int, step: int) -> None:
    """Removes all but the newest checkpoints up to a step; newer ones, which are damaged, stay."""
    old = [path for path in find_checkpoints(experiment) if _step(path) <= step]
    for path in old[keep:]:
        remove_checkpoint(path)


def remove_checkpoint(folder: Path) -> None:
    """Removes a checkpoint under another name, so that a half-removed one is never taken for a checkpoint."""
    if folder.exists():
        aside = folder.with_name(f".{folder.name}.old.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside)


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk; a marker must not be there earlier."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
