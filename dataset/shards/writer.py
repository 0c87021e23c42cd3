"""Writing shards: whole or not at all, and the same bytes for the same files."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError
from common.files import temporary_name, write_json
from common.overwrite import Outputs
from common.workers import parallel_map
from dataset.shards.shard_folder import LIST, tar_names
from dataset.shards.tar_index import TarIndex, index_of, keys


class ShardWriter:
    """Writes a shard file by file. The shard appears when the writer is closed.

    Args:
        tar: the path of the shard.
    """

    def __init__(self, tar: Path) -> None:
        self.tar, self._temporary = tar, temporary_name(tar)
        tar.parent.mkdir(parents=True, exist_ok=True)
        self._archive = tarfile.open(self._temporary, "w")  # noqa: SIM115, until `close` or `discard`

    def add(self, name: str, content: bytes) -> None:
        """Adds a file; those of a record side by side."""
        member = tarfile.TarInfo(name)  # no owner, no time
        member.size = len(content)
        self._archive.addfile(member, io.BytesIO(content))

    def close(self) -> TarIndex:
        """Ends the shard, and makes its index."""
        self._archive.close()
        self._temporary.replace(self.tar)
        return index_of(self.tar)

    def discard(self) -> None:
        """Removes the temporary file, if the shard was not closed."""
        self._archive.close()
        self._temporary.unlink(missing_ok=True)


def write_shard(tar: Path, files: Iterable[tuple[str, bytes]]) -> TarIndex:
    """Writes a tar file of these names and contents, and its index."""
    writer = ShardWriter(tar)
    try:
        for name, content in files:
            writer.add(name, content)
        return writer.close()
    finally:
        writer.discard()


def is_shard_of_ours(tar: Path) -> bool:
    """Whether `ShardWriter` wrote a tar: its members have no owner and no time."""
    try:
        with tarfile.open(tar, "r:") as file:
            return not any(member.mtime or member.uid or member.uname for member in file)
    except (tarfile.TarError, OSError):
        return False


def write_list(folder: Path, num_workers: int = 0, overwrite: bool = False) -> int:
    """Writes the list of a folder's shards, which a server needs, and missing indices.

    Args:
        folder: with the shards.
        num_workers: processes; 0 does it in this one.
        overwrite: replace another file with the list's name.

    Returns:
        The number of records.

    Raises:
        UserError: there are no shards, or another file has the list's name.
    """
    check_list(folder, overwrite)
    tars = [folder / name for name in tar_names(folder)]
    if not tars:
        raise UserError(f"{folder}: there are no shards (*.tar)")
    shards, records = [tar.name for tar in tars], sum(parallel_map(_count, tars, num_workers))
    write_json(folder / LIST, {"shards": shards, "records": records})
    return records


def check_list(folder: Path, overwrite: bool = False) -> None:
    """Refuses to replace a `shards.json` that does not list shards; `overwrite` confirms the replacement."""
    Outputs("dataset.shards", overwrite).check([folder / LIST], known=_is_list)


def _is_list(path: Path) -> bool:
    try:
        return json.loads(path.read_bytes()).keys() == {"shards", "records"}
    except (ValueError, AttributeError, RecursionError):
        return False


def _count(tar: Path) -> int:
    return len(keys(index_of(tar).names))
