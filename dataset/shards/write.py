"""Writing shards: whole or not at all, and the same bytes for the same files."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from dataset.files import write_atomically, write_json
from dataset.shards.folder import LIST
from dataset.shards.tar_index import TarIndex, index_of, keys


def write_shard(tar: Path, files: Iterable[tuple[str, bytes]]) -> TarIndex:
    """Writes a tar file and its index.

    Args:
        tar: its path.
        files: name and content of each member; those of a record side by side.
    """

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name, content in files:
                member = tarfile.TarInfo(name)  # no owner, no time
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    write_atomically(tar, write)
    return index_of(tar)


def write_list(folder: Path) -> int:
    """Writes the list of the shards in a folder, which a web server needs, and what indices are missing.

    Returns:
        The number of records.
    """
    shards = sorted(path.name for path in folder.glob("*.tar"))
    records = sum(len(keys(index_of(folder / shard).names)) for shard in shards)
    write_json(folder / LIST, {"shards": shards, "records": records})
    return records
