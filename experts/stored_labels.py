"""An expert's labels as they are stored: files, or, in some of its folders, shards."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from common.errors import UserError
from dataset.label_files import PACKED
from dataset.labels import LabelReader
from dataset.shards.shard_folder import ShardFolder, open_folder
from dataset.shards.tar_index import key_of
from experts.label_writer import stored_labels


class StoredLabels:
    """Finds an expert's labels.

    Args:
        label_path: the label folder.
        expert: its name.
        folders: below the expert's folder, where labels may lie.
    """

    def __init__(self, label_path: Path, expert: str, folders: Sequence[str]) -> None:
        self._folders = folders
        self._root = label_path / expert
        self._files = LabelReader(label_path, [expert])
        tars = {tar.parent for folder in folders for tar in (self._root / folder).rglob("*.tar")}
        self._shards: dict[PurePosixPath, ShardFolder] = {}
        self._readers: dict[PurePosixPath, LabelReader] = {}
        for path in sorted(tars):
            below = PurePosixPath(path.relative_to(self._root).as_posix())
            self._shards[below] = open_folder(path)
            self._readers[below] = LabelReader(label_path, [expert])
            self._readers[below].open_folder("" if below == PurePosixPath() else str(below))

    def reader(self, label: str) -> LabelReader:
        """What reads a label."""
        if not self._readers:
            return self._files
        folders = PurePosixPath(label).parents
        return next((self._readers[folder] for folder in folders if folder in self._readers), self._files)

    def labels(self) -> Iterator[str]:
        """All labels, as paths below the expert's folder without suffix; none of a shard that is damaged."""
        tars = {str(below / key_of(shard)) for below, files in self._shards.items() for shard in files.shards}
        for folder in self._folders:
            found = (str(PurePosixPath(folder, name)) for name in stored_labels(self._root / folder))
            yield from (label for label in found if label not in tars)
        for below, files in self._shards.items():
            for number in range(len(files.shards)):
                with suppress(UserError):
                    names = files.index(number).names
                    yield from (str(below / key_of(name)) for name in names if name.endswith((PACKED, ".png")))
