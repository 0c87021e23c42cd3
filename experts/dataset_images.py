"""The images to label, loose or in shards, and the place of their labels."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import check_dataset
from dataset.images import is_image, is_label_folder, list_images
from dataset.location import Url
from dataset.shards.shard_folder import ShardFile, ShardFolder, open_folder
from dataset.shards.tar_index import key_of


class ImageFile(NamedTuple):
    """An image, or a shard of images.

    Attributes:
        path: the file or its address.
        label: path of its labels below `<save_path>/<expert>/`, without suffix.
        shards: of a shard, the folder that it lies in.
    """

    path: str
    label: str
    shards: ShardFolder | None = None

    @property
    def folder(self) -> str:
        """The folder of its labels, below that of each expert."""
        return self.label.rpartition("/")[0]

    @property
    def label_name(self) -> str:
        """The name of the finished label: a PNG, or a shard with the same name as that of the images."""
        return self.label.rpartition("/")[2] + (".png" if self.shards is None else ".tar")


class Task(NamedTuple):
    """An image or a shard, and the experts whose labels it lacks.

    `names` are the images of a shard that lack a label; None means all of them.
    """

    image: ImageFile
    experts: tuple[str, ...]
    names: tuple[str, ...] | None = None


class Item(NamedTuple):
    """A single image to be labelled. `label`, `folder` and `shard` are `key`, `folder` and `shard` of its `Target`."""

    task: Task
    file: Path | ShardFile
    label: str
    folder: str = ""
    shard: str | None = None


class Items(Sequence[Item]):
    """The images of tasks, in their order. Shards are listed when one of their images is asked for."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._ends = list(accumulate(len(_names(task)) if task.image.shards else 1 for task in tasks))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        number = bisect_right(self._ends, index)
        task = self.tasks[number]
        image = task.image
        if image.shards is None:
            return Item(task, Path(image.path), image.label)
        name = _names(task)[index - (self._ends[number - 1] if number else 0)]
        file = ShardFile(image.shards, name, image.shards.number(image.label_name))
        start = f"{image.folder}/" if image.folder else ""
        return Item(task, file, start + key_of(name), image.folder, image.label_name)

    def tasks_without_images(self) -> list[Task]:
        """Shards that hold no image."""
        starts = [0, *self._ends]
        return [task for task, start, end in zip(self.tasks, starts, self._ends, strict=False) if start == end]


def _names(task: Task) -> Sequence[str]:
    return task.names or names_in(task.image)


@lru_cache(maxsize=4)
def names_in(shard: ImageFile) -> tuple[str, ...]:
    """The names of the images in a shard.

    Raises:
        UserError: the shard cannot be read.
    """
    return tuple(filter(is_image, shard.shards.index(shard.shards.number(shard.label_name)).names))


def images_to_label(
    data_path: Path, datasets: Sequence[str] = (), prefix: str = "", leave_out: Path | None = None
) -> list[ImageFile]:
    """Lists the images below a folder. The paths of their labels mirror theirs.

    Args:
        data_path: the folder.
        datasets: folders below it to search; an empty list means all of it.
        prefix: put before the paths of labels.
        leave_out: a folder to skip, such as that of the labels.

    Raises:
        UserError: a folder is missing or not below `data_path`, holds no image or the labels, or two images
            would share a label.
    """
    found: dict[str, str] = {}
    for dataset in datasets or [""]:
        folder = data_path / dataset
        if leave_out is not None and folder.resolve() == leave_out.resolve():
            raise UserError(f"{folder}: labels would lie among the images; name another folder for them")
        start = _label_folder(prefix, dataset)
        for name in list_images(folder, leave_out):
            found[os.path.join(start, os.path.splitext(name)[0])] = f"{folder}/{name}"
    return [ImageFile(found[label], label) for label in sorted(found)]


def images_and_shards(data_path: Path | Url, datasets: Sequence[str], prefix: str, leave_out: Path) -> list[ImageFile]:
    """Lists the loose images and the shards of images below a folder or an address.

    The arguments are those of `images_to_label`. At an address, only shards are found.

    Raises:
        UserError: see `images_to_label`; or an address has no shards.
    """
    names = list(datasets) or [""]
    if isinstance(data_path, Path) and not datasets:
        labels = os.path.abspath(leave_out)  # one of the two paths may be relative
        folders = {tar.parent for tar in data_path.rglob("*.tar")}
        folders = {
            folder
            for folder in folders
            if not Path(os.path.abspath(folder)).is_relative_to(labels)
            and not any(is_label_folder(part, data_path) for part in (folder, *folder.parents))
        }
        names = sorted({"", *(folder.relative_to(data_path).as_posix() for folder in folders)} - {"."})
    shards, loose = [], []
    for name in names:
        files = open_folder(data_path / name)
        if isinstance(files, ShardFolder):
            start = _label_folder(prefix, name)
            shards += [
                ImageFile(f"{files}/{shard}", os.path.join(start, shard.removesuffix(".tar")), files)
                for shard in files.shards
            ]
        else:
            loose.append(name)
    images = []
    if loose:
        try:
            images = images_to_label(data_path, loose, prefix, leave_out)
        except UserError:
            if datasets or not shards:  # beside shards, a data_path needs no loose images
                raise
    if not images and not shards:
        raise UserError(f"{data_path}: it lists no shards; check data_path")
    return images + shards


def _label_folder(prefix: str, dataset: str) -> str:
    check_dataset(dataset)
    labels = os.path.normpath(os.path.join(prefix, dataset)).replace(os.sep, "/")
    return "" if labels == "." else labels
