"""The index of a tar file: where each member's bytes are, so that any can be read alone.

docs/shards.md says why it is not that of `wids`.
"""

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import one_line
from common.files import write_bytes
from common.limited_warnings import LimitedWarnings
from dataset.string_array import StringArray, key_of

logger = LimitedWarnings(__name__)
SUFFIX = ".index"  # of the file beside a tar
_MAGIC = b"PK"  # the beginning of an index, even of a damaged one
_TOO_LARGE = 2**60  # bytes, of a file; a damaged header may say so
_ARRAYS = ("names", "offsets", "sizes", "tar")


@dataclass(frozen=True)
class TarIndex:
    """The members of a tar file, in its order.

    Attributes:
        names: of the members.
        offsets, sizes: of their bytes, int64 (n,).
        tar: size and time of change (ns) of the tar file that was indexed, int64 (2,).
    """

    names: StringArray
    offsets: np.ndarray
    sizes: np.ndarray
    tar: np.ndarray

    def find(self, name: str) -> int | None:
        """The number of the member with this name, or None."""
        encoded = os.fsencode(name)
        place = int(np.searchsorted(self.names.encoded, encoded, sorter=self._sorter))
        if place == len(self.names):
            return None
        number = int(self._sorter[place])
        return number if self.names.encoded[number] == encoded else None

    @cached_property
    def _sorter(self) -> np.ndarray:
        return np.argsort(self.names.encoded, kind="stable")

    def record(self, number: int) -> range:
        """The members with the same key as this one, which stand side by side."""
        key, first, last = key_of(self.names[number]), number, number + 1
        while first and key_of(self.names[first - 1]) == key:
            first -= 1
        while last < len(self.names) and key_of(self.names[last]) == key:
            last += 1
        return range(first, last)

    def span(self, members: range) -> tuple[int, int]:
        """Where members that stand side by side begin and end."""
        last = members[-1]
        return int(self.offsets[members[0]]), int(self.offsets[last] + self.sizes[last])


def read_index(content: bytes) -> TarIndex:
    """An index from the content of its file; a `ValueError` if it is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            names, *numbers = (arrays[key] for key in _ARRAYS)
    except Exception as error:  # zipfile, zlib and numpy raise whatever a part makes them stumble over
        raise ValueError(f"damaged index ({one_line(error)[:100]})") from None
    offsets, sizes, tar = numbers
    have_shape = names.shape == offsets.shape == sizes.shape == (len(names),) and tar.shape == (2,)
    have_type = names.dtype.kind == "S" and all(values.dtype == np.int64 for values in numbers)
    if not have_shape or not have_type or (offsets < 0).any() or (sizes < 0).any():
        raise ValueError("damaged index (its arrays do not fit together)")
    return TarIndex(StringArray(names), offsets, sizes, tar)


def index_of(tar: Path) -> TarIndex:
    """The index beside a tar file, made anew if the file has changed or has none; an `OSError` if it cannot be read.

    In a folder that cannot be written to, the index stays in memory.
    """
    status = tar.stat()
    path = tar.with_name(tar.name + SUFFIX)
    content = b""
    try:
        content = path.read_bytes() if path.is_file() else b""
        index = read_index(content)
        if index.tar.tolist() == [status.st_size, status.st_mtime_ns]:
            return index
    except (OSError, ValueError) as error:
        if content.startswith(_MAGIC):
            logger.warning("%s: %s; it is made anew", path, error)
    index = make_index(tar)
    if os.path.lexists(path) and (path.is_symlink() or not _MAGIC.startswith(content[:2])):
        logger.warning("%s is not ours and is kept: the shard is read through anew each time", path)
        return index
    try:
        file = io.BytesIO()
        arrays = (index.names.encoded, index.offsets, index.sizes, index.tar)
        np.savez_compressed(file, **dict(zip(_ARRAYS, arrays, strict=True)))
        write_bytes(path, file.getvalue())
    except OSError as error:
        logger.warning("%s cannot be written (%s): the shard is read through anew each time", path, error.strerror)
    return index


def make_index(tar: Path) -> TarIndex:
    """Reads the headers of a tar file, up to the place where it is cut off or damaged.

    Of several members with one name the last counts, as when `tar` unpacks them.
    """
    status = tar.stat()
    members: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                if member.isfile() and 0 <= member.size < _TOO_LARGE:
                    name = member.name.removeprefix("./")
                    members.pop(name, None)  # so that the order stays that of the tar
                    members[name] = member.offset_data, member.size
    except OSError:
        raise
    except Exception as error:  # tarfile raises more than its own errors
        logger.warning("%s: damaged after %d files (%s); the rest is left out", tar, len(members), error)
    places = np.array(list(members.values()), dtype=np.int64).reshape(-1, 2)
    changed = np.array([status.st_size, status.st_mtime_ns], dtype=np.int64)
    return TarIndex(StringArray(members), places[:, 0], places[:, 1], changed)


def keys(names: Sequence[str]) -> list[str]:
    """The keys of a tar's records, in its order."""
    return list(dict.fromkeys(map(key_of, names)))
