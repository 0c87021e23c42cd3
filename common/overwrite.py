"""A command replaces its own files, if they are unchanged; other files only if the user confirms it.

A command notes each file that it writes: the file's name, its hash and the command, as a line of
`.written_by_prismer` in the same folder.
"""

import hashlib
import json
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import UserError
from common.files import append_json_line

NOTES = ".written_by_prismer"
FLAG = "--overwrite"


def add_flag(parser: ArgumentParser) -> None:
    """Adds the flag by which a user confirms that any file may be replaced."""
    parser.add_argument(FLAG, action="store_true", help="replace also files that this command did not write")


class Outputs:
    """The files that a command writes.

    Args:
        command: its name, for the notes and for messages.
        overwrite: the user confirms that any file may be replaced.
        instead: the remedy that replaces no file.
        flag: how the user confirms it.
    """

    def __init__(self, command: str, overwrite: bool, instead: str = "name another place", flag: str = FLAG) -> None:
        self.command, self.overwrite, self.instead, self.flag = command, overwrite, instead, flag
        self._checked: dict[Path, tuple[int, ...] | None] = {}
        self._writable: set[Path] = set()
        self._notes: dict[Path, dict[str, tuple[str, str]]] = {}

    def check(
        self, paths: Iterable[Path], *, known: Callable[[Path], bool] = lambda _: False, sources: Iterable[Path] = ()
    ) -> None:
        """Finds out before the work whether files may be written.

        Args:
            paths: the files; they need not exist.
            known: tells by the content of a file without a note that nothing is lost if it is replaced.
            sources: the command's input; it is not replaced without `overwrite`.

        Raises:
            UserError: a file is another's, a path is a folder or a device, a folder cannot be written to.
        """
        sources, foreign = [path for path in sources if path.exists()], []
        for path in paths:
            self._checked[path] = self._place(path)
            if self._checked[path] and not self.overwrite and not self._is_own(path, known, sources):
                foreign.append(path)
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise UserError(
                f"{foreign[0]}{more}: not written by {self.command}, or changed since; "
                f"{self.instead}, or replace it with {self.flag}"
            )

    @contextmanager
    def writing(self, *paths: Path) -> Iterator[None]:
        """Wraps the writing of files: checks those that changed since their check, and notes all."""
        self.check(path for path in paths if path not in self._checked or self._checked[path] != self._place(path))
        yield
        for path in paths:
            self._note(path)

    def remove(self, path: Path) -> None:
        """Removes a file, if it exists, by the same rule."""
        self.check([path])
        path.unlink(missing_ok=True)

    def _place(self, path: Path) -> tuple[int, ...] | None:
        """Identifies the file at a path, None if there is none; a `UserError` if no file can be written there."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            status = None
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); {self.instead}") from None
        if path.is_dir():
            raise UserError(f"{path}: is a folder; name a file")
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a device or a pipe; {self.instead}")
        folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        self._check_writable(folder, path)
        notes = path.with_name(NOTES)
        if path.name == NOTES:
            raise UserError(f"{path}: this name is kept for notes; {self.instead}")
        if notes.is_symlink() or (notes.exists() and not notes.is_file()):
            raise UserError(f"{notes}: is no plain file; remove it")
        return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)

    def _check_writable(self, folder: Path, path: Path) -> None:
        """Tries it with a file without a name: the permissions of some folders, as /proc, promise too much."""
        if folder in self._writable:
            return
        try:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            raise UserError(f"{path}: folder {folder} cannot be written to; {self.instead}") from None
        self._writable.add(folder)

    def _is_own(self, path: Path, known: Callable[[Path], bool], sources: list[Path]) -> bool:
        if path.is_symlink() or any(path.samefile(source) for source in sources):
            return False
        note = self._noted(path.parent).get(path.name)
        if note is None:
            return known(path)
        return note[0] == self.command and note[1] == _digest(path)

    def _note(self, path: Path) -> None:
        note = self.command, _digest(path)
        noted = self._noted(path.parent)
        if noted.get(path.name) != note:
            record = {"name": path.name, "command": note[0], "sha256": note[1]}
            append_json_line(path.with_name(NOTES), record)
            noted[path.name] = note
        self._checked[path] = self._place(path)

    def _noted(self, folder: Path) -> dict[str, tuple[str, str]]:
        """Command and hash of each file that is noted in a folder."""
        if folder not in self._notes:
            notes, path = {}, folder / NOTES
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            for line in text.splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a killed process may have cut a line off
                    note = json.loads(line)
                    notes[str(note["name"])] = str(note["command"]), str(note["sha256"])
            self._notes[folder] = notes
        return self._notes[folder]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
