"""Labelling shards of images: what is in them, and their labels as shards of the same name.

A shard of labels appears when all its images are labelled, so that is the piece of work that a killed run
does again.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from dataset.images import is_image
from dataset.packed_labels import SUFFIX
from dataset.shards.folder import ShardFile, ShardFolder
from dataset.shards.tar_index import key_of
from dataset.shards.write import ShardWriter
from experts.plan import Task
from experts.write import label_shard


class Item(NamedTuple):
    """An image to be labelled.

    Attributes:
        task: what is to be made; of a shard it is that of all its images.
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
        self._names = lru_cache(maxsize=4)(self._read_names)
        self._ends = list(accumulate(self._count(task) for task in tasks))

    def __getstate__(self) -> dict:
        return {"tasks": self.tasks, "packed": self.packed, "_ends": self._ends}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._names = lru_cache(maxsize=4)(self._read_names)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        number = bisect_right(self._ends, index)
        task = self.tasks[number]
        if not task.image.packed:
            return Item(task, Path(task.image.path), task.image.label)
        folder, shard = place(task)
        files = self.packed[folder]
        name = self._names(folder, shard)[index - (self._ends[number - 1] if number else 0)]
        start = f"{folder}/" if folder else ""
        return Item(task, ShardFile(files, name, files.number(shard)), start + key_of(name), folder, shard)

    def without_images(self) -> list[Task]:
        """Shards in which there are none."""
        starts = [0, *self._ends]
        return [
            task for task, start, end in zip(self.tasks, starts, self._ends, strict=False) if start == end
        ]

    def _count(self, task: Task) -> int:
        return len(self._read_names(*place(task))) if task.image.packed else 1

    def _read_names(self, folder: str, shard: str) -> list[str]:
        files = self.packed[folder]
        return [name for name in files.index(files.number(shard)).names if is_image(name)]


def place(task: Task) -> tuple[str, str]:
    """Of the task of a shard: the data set's folder, and the shard's name."""
    folder, _, name = task.image.label_file.rpartition("/")
    return folder, name


class LabelShards:
    """Collects labels, in the order of the images, into shards.

    Args:
        save_path: the label folder.
    """

    def __init__(self, save_path: Path) -> None:
        self.save_path = save_path
        self._task: Task | None = None
        self._writers: dict[str, ShardWriter] = {}

    def add(self, item: Item, labels: Mapping[str, bytes]) -> None:
        """Adds the labels of an image by expert; none for one that cannot be read."""
        if item.task is not self._task:
            self.close()
            self.open(item.task)
        for expert, content in labels.items():
            name = item.label.removeprefix(f"{item.folder}/") if item.folder else item.label
            self._writers[expert].add(name + SUFFIX, content)

    def open(self, task: Task) -> None:
        """Begins the shards of a task."""
        self._task = task
        for expert in task.experts:
            self._writers[expert] = ShardWriter(label_shard(self.save_path, expert, task.image.label))

    def close(self) -> None:
        """Ends the shards that were begun."""
        for writer in self._writers.values():
            writer.close()
        self._writers, self._task = {}, None

    def discard(self) -> None:
        """Removes what was begun and not ended."""
        for writer in self._writers.values():
            writer.discard()
