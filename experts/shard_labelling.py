"""Labelling shards of images: what is in them, and their labels as shards of the same name.

A shard of labels appears when all its images are labelled, so that is the piece of work that a killed run
does again. It has no record of an image that failed; a later run tries such images again, and adds theirs.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from dataset.label_files import PACKED as SUFFIX
from dataset.shards.shard_folder import ShardFile, ShardFolder
from dataset.shards.tar_index import index_of, key_of
from dataset.shards.writer import ShardWriter
from experts.dataset_images import ImageFile
from experts.label_plan import Task
from experts.label_writer import label_shard


class Item(NamedTuple):
    """An image to be labelled.

    Attributes:
        task: what is to be made; of a shard it is that of several images.
        file: the image.
        label: its labels' path below that of each expert, without suffix.
        folder, shard: where the labels are packed: the data set's folder, the shard's name.
    """

    task: Task
    file: Path | ShardFile
    label: str
    folder: str = ""
    shard: str | None = None


class Items(Sequence[Item]):
    """The images of tasks, in their order.

    Args:
        tasks: images and shards of them.
        packed: the shards of each data set, by their labels' folder.
    """

    def __init__(self, tasks: Sequence[Task], packed: Mapping[str, ShardFolder]) -> None:
        self.tasks, self.packed = tasks, packed
        self._names = lru_cache(maxsize=4)(self._names_in)
        self._ends = list(accumulate(self._count(task) for task in tasks))

    def __getstate__(self) -> dict:
        return {"tasks": self.tasks, "packed": self.packed, "_ends": self._ends}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._names = lru_cache(maxsize=4)(self._names_in)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        number = bisect_right(self._ends, index)
        task = self.tasks[number]
        if not task.image.packed:
            return Item(task, Path(task.image.path), task.image.label)
        folder, _, shard = task.image.label_file.rpartition("/")
        files = self.packed[folder]
        names = task.names or self._names(task.image)
        name = names[index - (self._ends[number - 1] if number else 0)]
        start = f"{folder}/" if folder else ""
        return Item(task, ShardFile(files, name, files.number(shard)), start + key_of(name), folder, shard)

    def without_images(self) -> list[Task]:
        """Shards in which there are none."""
        starts = [0, *self._ends]
        return [task for task, start, end in zip(self.tasks, starts, self._ends, strict=False) if start == end]

    def _count(self, task: Task) -> int:
        return len(task.names or self._names_in(task.image)) if task.image.packed else 1

    def _names_in(self, shard: ImageFile) -> list[str]:
        return shard.in_shard(self.packed)


class LabelShards:
    """Collects labels, in the order of the images, into shards.

    Args:
        save_path: the label folder.
    """

    def __init__(self, save_path: Path) -> None:
        self.save_path = save_path
        self._task: Task | None = None
        self._writers: dict[str, ShardWriter] = {}  # by expert
        self._there: dict[str, set[str]] = {}  # keys of the records that were there before

    def add(self, item: Item, labels: Mapping[str, bytes]) -> None:
        """Adds the labels of an image by expert; none for one that failed."""
        if item.task is not self._task:
            self.close()
            self._task = item.task
            if item.task.names is None:
                self.open(item.task)
        key = item.label.removeprefix(f"{item.folder}/") if item.folder else item.label
        for expert, content in labels.items():
            if expert not in self._writers:
                self._add_to(expert, item.task)
            if key not in self._there[expert]:
                self._writers[expert].add(key + SUFFIX, content)

    def open(self, task: Task) -> None:
        """Begins the shards of a task, of all its images."""
        for expert in task.experts:
            self._writers[expert] = ShardWriter(label_shard(self.save_path, expert, task.image.label))
            self._there[expert] = set()

    def _add_to(self, expert: str, task: Task) -> None:
        """Begins a shard with the records that it has."""
        tar = label_shard(self.save_path, expert, task.image.label)
        index, content = index_of(tar), tar.read_bytes()
        writer = self._writers[expert] = ShardWriter(tar)
        self._there[expert] = set()
        for name, start, size in zip(index.names, index.offsets.tolist(), index.sizes.tolist(), strict=True):
            if len(record := content[start : start + size]) == size:  # the last may be cut off
                writer.add(name, record)
                self._there[expert].add(key_of(name))

    def close(self) -> None:
        """Ends the shards that were begun."""
        for writer in self._writers.values():
            writer.close()
        self._writers, self._there, self._task = {}, {}, None

    def discard(self) -> None:
        """Removes what was begun and not ended."""
        for writer in self._writers.values():
            writer.discard()
