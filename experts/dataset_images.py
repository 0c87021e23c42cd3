"""The images of a data set, and the name of each one's labels."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import check_dataset
from dataset.images import is_image, list_images
from dataset.location import Url
from dataset.shards.shard_folder import ShardFolder, open_folder


class ImageFile(NamedTuple):
    """An image, or a shard of them, and its labels' path below `<save_path>/<expert>/`, without suffix."""

    path: str
    label: str
    packed: bool = False

    @property
    def label_file(self) -> str:
        """What is there when the labels are: a PNG, or a shard of the same name."""
        return self.label + (".tar" if self.packed else ".png")

    def in_shard(self, packed: Mapping[str, ShardFolder]) -> list[str]:
        """The names of the images in a shard.

        Args:
            packed: the shards of each data set, by their labels' folder.
        """
        folder, _, name = self.label_file.rpartition("/")
        files = packed[folder]
        return [member for member in files.index(files.number(name)).names if is_image(member)]


def images_to_label(
    data_path: Path, datasets: Sequence[str] = (), prefix: str = "", leave_out: Path | None = None
) -> list[ImageFile]:
    """Lists the images below a folder with their labels' paths, which mirror theirs.

    Args:
        data_path: labels mirror the images' paths below it.
        datasets: the folders below `data_path` to look into; none means all of it.
        prefix: put before the labels' paths.
        leave_out: a folder whose images are not meant, such as the labels.

    Raises:
        UserError: a folder that is not there or not below, no image in one, or two images that would share a
            label.
    """
    found: dict[str, str] = {}
    for dataset in datasets or [""]:
        folder = data_path / dataset
        if leave_out is not None and folder.resolve() == leave_out.resolve():
            raise UserError(f"{folder}: labels would lie among the images; name another folder for them")
        start = _start(prefix, dataset)
        for name in list_images(folder, leave_out):
            found[start + os.path.splitext(name)[0]] = f"{folder}/{name}"
    return [ImageFile(found[label], label) for label in sorted(found)]


def shards_to_label(
    data_path: Path | Url, datasets: Sequence[str], prefix: str, leave_out: Path
) -> tuple[dict[str, ShardFolder], list[str]]:
    """Finds the data sets that are packed.

    Args:
        data_path: a folder, or its address, at which all are.
        datasets: the folders below it to look into; none means all of it.
        prefix: put before the labels' paths.
        leave_out: a folder that is not meant, such as the labels.

    Returns:
        The shards of each, by their labels' folder; and the data sets that are not packed.

    Raises:
        UserError: there are none at an address.
    """
    names = list(datasets) or [""]
    if isinstance(data_path, Path) and not datasets:
        apart = os.path.abspath(leave_out)  # it may be relative where data_path is not
        tars = {path.parent for path in data_path.rglob("*.tar")}
        tars = {folder for folder in tars if not Path(os.path.abspath(folder)).is_relative_to(apart)}
        names = sorted({"", *(folder.relative_to(data_path).as_posix() for folder in tars)} - {"."})
    opened = {name: open_folder(data_path / name) for name in names}
    packed = {
        _start(prefix, name).rstrip("/"): files for name, files in opened.items() if isinstance(files, ShardFolder)
    }
    return packed, [name for name, files in opened.items() if not isinstance(files, ShardFolder)]


def images_and_shards(
    data_path: Path | Url, datasets: Sequence[str], prefix: str, leave_out: Path
) -> tuple[list[ImageFile], dict[str, ShardFolder]]:
    """What there is to label: loose images and shards of images; and the shards by their labels' folder.

    Raises:
        UserError: see `images_to_label` and `shards_to_label`.
    """
    packed, loose = shards_to_label(data_path, datasets, prefix, leave_out)
    units = [
        ImageFile(f"{files}/{name}", f"{folder}/{name}".removesuffix(".tar").lstrip("/"), packed=True)
        for folder, files in packed.items()
        for name in files.shards
    ]
    if loose:
        try:
            units = images_to_label(data_path, loose, prefix, leave_out) + units
        except UserError:
            if datasets or not units:  # beside shards there need not be any
                raise
    return units, packed


def _start(prefix: str, dataset: str) -> str:
    check_dataset(dataset)
    labels = os.path.normpath(os.path.join(prefix, dataset)).replace(os.sep, "/")
    return "" if labels == "." else f"{labels}/"
