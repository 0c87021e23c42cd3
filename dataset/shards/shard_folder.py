"""A folder of shards, on this machine or at an address, whose records are read by name like files.

    <folder>/00000.tar 00001.tar ...   records: files of one key side by side (`a/b.jpg`, `a/b.txt`)
    <folder>/00000.tar.index           where they are; made when it is missing
    <folder>/shards.json               which shards there are; only a server needs it

img2dataset's `--output_format webdataset` is this layout.
"""

import errno
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from threading import RLock
from typing import BinaryIO

import numpy as np
import torch

from common.errors import UserError
from common.files import leads_out
from common.limited_warnings import LimitedWarnings
from common.strict_json import parse_json
from dataset.location import Url, fetch
from dataset.shards.tar_index import SUFFIX, TarIndex, index_of, read_index
from dataset.string_array import StringArray, refuse_shared_keys

logger = logging.getLogger(__name__)
LIST = "shards.json"
IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".avif", ".gif", ".tif", ".tiff")  # suffixes
_OPEN_SHARDS = 64  # of each folder, in each process
_THREADS = 16  # that read from servers, in each process


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return name.lower().endswith(IMAGES) and os.path.splitext(name)[1] != ""  # `.jpg` is a hidden file


@lru_cache(maxsize=1)
def _threads(_process: int) -> ThreadPoolExecutor:
    """Threads of this process alone: a forked process does not inherit threads."""
    return ThreadPoolExecutor(_THREADS)


class TruncatedShard(OSError):
    """A shard ends before one of its records does."""


class _OpenShard:
    """An open shard. It is read at positions, so processes and threads may share it."""

    def __init__(self, place: Path | Url, index: TarIndex) -> None:
        self.place, self.index = place, index
        self._file = os.open(place, os.O_RDONLY) if isinstance(place, Path) else None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)

    def read(self, start: int, size: int) -> bytes:
        """Some of its bytes; an `OSError` if they cannot be read, or the tar has changed since it was indexed."""
        if size == 0:  # a label that says "nothing here"; no range is empty
            return b""
        if self._file is None:
            part = fetch(self.place.address, start, size)
            if part.total not in (-1, int(self.index.tar[0])):
                raise OSError(errno.ESTALE, "is not the file that was indexed; index it anew", str(self.place))
            return part.content
        content = os.pread(self._file, size, start)
        if len(content) < size:
            raise TruncatedShard(errno.EIO, f"ends {size - len(content)} bytes early", str(self.place))
        return content


class ShardFolder:
    """Shards of one modality, or of images with their captions. Threads may share a folder.

    A shard that cannot be read is *broken*: one warning names it, and its records fail at once until
    `retry_broken` is called.

    Args:
        root: the folder, or its address.
        shards: names of the tar files.
    """

    def __init__(self, root: Path | Url, shards: Sequence[str]) -> None:
        self.root, self.shards = root, list(shards)
        self._numbers = {shard: number for number, shard in enumerate(self.shards)}
        self._log = LimitedWarnings(__name__)
        # Shared memory: a worker spares the others the attempts.
        self._broken = torch.zeros(len(self.shards), dtype=torch.bool).share_memory_()
        self.__setstate__({})

    def __str__(self) -> str:
        return str(self.root)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_opened", "_last", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._opened: dict[int, _OpenShard] = {}  # the last used one last
        self._last: tuple[int, dict[str, bytes]] = (-1, {})  # shard and files of the record that was read last
        self._lock = RLock()

    def __truediv__(self, name: str) -> "ShardFile":
        return ShardFile(self, name)

    def number(self, shard: str) -> int | None:
        """The number of a shard by its name."""
        return self._numbers.get(shard)

    def index(self, number: int) -> TarIndex:
        """The index of a shard.

        Raises:
            UserError: the shard (on a server: its index) cannot be read, or two of its images have one key.
        """
        where = self.root / self.shards[number]
        try:
            index = self._load_index(number)
        except (OSError, ValueError) as error:
            raise UserError(f"shard {where}: cannot be read, or its index ({_reason(error)})") from None
        refuse_shared_keys(filter(is_image, index.names), f"shard {where}")
        return index

    def _load_index(self, number: int) -> TarIndex:
        tar = self.root / self.shards[number]
        if isinstance(tar, Path):
            return index_of(tar)
        return read_index((self.root / f"{self.shards[number]}{SUFFIX}").read_bytes())

    def is_broken(self, number: int) -> bool:
        """Whether a shard could not be read at the last attempt."""
        return bool(self._broken[number])

    def retry_broken(self) -> None:
        """Has broken shards read again at the next request."""
        self._broken.zero_()

    def locate(self, names: Sequence[str]) -> np.ndarray:
        """The shard of each file, -1 where there is no such file; int32 (n,).

        Raises:
            UserError: a name is in two shards.
        """
        all_names, shards = self.files
        found = np.full(len(names), -1, dtype=np.int32)
        if not len(all_names):
            return found
        order, wanted = self._order, StringArray(names).encoded
        places = np.searchsorted(all_names.encoded, wanted, sorter=order).clip(max=len(order) - 1)
        there = all_names.encoded[order[places]] == wanted
        found[there] = shards[order[places]][there]
        twice = there & (all_names.encoded[order[(places + 1) % len(order)]] == wanted) & (len(order) > 1)
        if twice.any():
            number = int(twice.argmax())
            shard = self.shards[found[number]]
            raise UserError(f"{self}: {names[number]} is in {shard} and in another shard; rename one")
        return found

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.files[0].encoded, kind="stable")

    @cached_property
    def files(self) -> tuple[StringArray, np.ndarray]:
        """The names of all files, in the order of the shards, and each one's shard, int32 (n,).

        Raises:
            UserError: see `index`. All processes must find the same files, so no shard is left out.
        """
        indices = list(_threads(os.getpid()).map(self.index, range(len(self.shards))))
        lengths = [len(index.names) for index in indices]
        encoded = [index.names.encoded for index in indices if len(index.names)]
        names = StringArray(np.concatenate(encoded)) if encoded else StringArray(())
        return names, np.repeat(np.arange(len(indices), dtype=np.int32), lengths)

    def images(self) -> tuple[StringArray, np.ndarray]:
        """The names of all images, in the order of the shards, and each one's shard, int32 (n,)."""
        names, shards = self.files
        chosen = np.fromiter(map(is_image, names), dtype=bool, count=len(names))
        return StringArray(names.encoded[chosen]), shards[chosen]

    def read(self, name: str, shard: int | None = None) -> bytes:
        """A file's bytes. The other files of its record are read with it, and kept until the next record.

        Args:
            name: of the file.
            shard: its number; without it, all indices are searched.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: its shard cannot be read.
        """
        if shard is None:
            shard = int(self.locate([name])[0])
            if shard < 0:
                raise FileNotFoundError(errno.ENOENT, "not in any shard", f"{self}/{name}")
        with self._lock:
            if self._last[0] != shard or name not in self._last[1]:
                self._last = (shard, self._read_record(name, shard))
            return self._last[1][name]

    def _read_record(self, name: str, shard: int) -> dict[str, bytes]:
        opened = self._open(shard)
        index = opened.index
        member = index.find(name)
        if member is None:
            raise FileNotFoundError(errno.ENOENT, "not in the shard", f"{opened.place}/{name}")
        members = index.record(member)
        start, end = index.span(members)
        try:
            content = opened.read(start, end - start)
        except TruncatedShard:
            raise
        except OSError as error:
            raise self._given_up(shard, error) from None
        return {index.names[i]: content[index.offsets[i] - start :][: index.sizes[i]] for i in members}

    def has(self, name: str, shard: int | None = None) -> bool:
        """Whether there is a file of this name, in a shard that can be read."""
        if shard is None:
            return bool(self.locate([name])[0] >= 0)
        try:
            with self._lock:
                return self._open(shard).index.find(name) is not None
        except OSError:
            return False

    def _open(self, number: int) -> _OpenShard:
        shard = self._opened.pop(number, None)
        if shard is None:
            place = self.root / self.shards[number]
            if self._broken[number]:
                raise OSError(errno.EIO, "could not be read before", str(place))
            try:
                shard = _OpenShard(place, self._load_index(number))
            except (OSError, ValueError) as error:
                raise self._given_up(number, error) from None
        self._opened[number] = shard
        if len(self._opened) > _OPEN_SHARDS:
            del self._opened[next(iter(self._opened))]
        return shard

    def _given_up(self, number: int, error: Exception) -> OSError:
        """Marks a shard as broken; the error of its records."""
        where, reason = self.root / self.shards[number], _reason(error)
        if not self._broken[number]:
            self._log.warning("shard %s: cannot be read (%s); its samples are skipped", where, reason)
        self._broken[number] = True
        self._opened.pop(number, None)
        # Not a missing file, which for some labels means "nothing here".
        return OSError(errno.EIO, reason, str(where))


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


class ShardFile:
    """A file in a shard, used as a `Path` is.

    Args:
        folder: where it is.
        name: in the tar.
        shard: the shard's number, if it is known.
    """

    def __init__(self, folder: ShardFolder, name: str, shard: int | None = None) -> None:
        self.folder, self._name, self.shard = folder, PurePosixPath(name), shard

    def __str__(self) -> str:
        shard = "" if self.shard is None else f"/{self.folder.shards[self.shard]}"
        return f"{self.folder}{shard}/{self._name}"

    @property
    def suffix(self) -> str:
        """The name's suffix, with its dot."""
        return self._name.suffix

    def with_suffix(self, suffix: str) -> "ShardFile":
        """Another file of the same record."""
        return ShardFile(self.folder, str(self._name.with_suffix(suffix)), self.shard)

    def is_file(self) -> bool:
        """Whether the shard has it."""
        return self.folder.has(str(self._name), self.shard)

    def read_ahead(self) -> None:
        """Begins to read it from a server, if its shard is known; `read_bytes` will raise the errors."""
        if self.shard is not None and not isinstance(self.folder.root, Path):
            _threads(os.getpid()).submit(self.read_bytes)

    def read_bytes(self) -> bytes:
        """All of it; see `ShardFolder.read`."""
        return self.folder.read(str(self._name), self.shard)

    def open(self, mode: str = "rb") -> BinaryIO:
        """All of it, as a file for reading bytes."""
        return BytesIO(self.read_bytes())


Files = Path | ShardFolder  # a folder of files, or of shards


def open_folder(root: Path | Url) -> Files:
    """A folder as it is, or the shards in it.

    Raises:
        UserError: its list of shards is damaged, or on a server is missing.
    """
    if isinstance(root, Path):
        tars = tar_names(root)
        if (root / LIST).is_file():
            listed = _listed(root)
            if new := sorted(set(tars) - set(listed)):
                text = "%s: reads %d shards that %s lacks (%s); run python -m dataset.shards index %s"
                logger.warning(text, root, len(new), LIST, new[0], root)
            tars = sorted({*tars, *listed})  # the reader names one that is missing
        return ShardFolder(root, tars) if tars else root
    try:
        return ShardFolder(root, _listed(root))
    except OSError as error:
        raise UserError(
            f"{root}: no shards there: {LIST} cannot be read ({error.strerror}); "
            "where they are stored, run python -m dataset.shards index"
        ) from None


def tar_names(folder: Path) -> list[str]:
    """The shards in a folder, sorted, without the files that a Mac writes beside them (`._00000.tar`)."""
    return sorted(path.name for path in folder.glob("[!.]*.tar") if path.is_file())


def _listed(root: Path | Url) -> list[str]:
    content = (root / LIST).read_bytes()
    try:
        names = [str(name) for name in parse_json(content)["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{root / LIST}: damaged ({error}); run python -m dataset.shards index {root}") from None
    for name in names:
        if leads_out(name, root if isinstance(root, Path) else None):  # its index would be written there
            raise UserError(f"{root / LIST}: the name '{name}' leads out of the folder; remove the file")
    return names
