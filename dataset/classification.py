"""Images of classes, in ImageNet's layout: a few of each to learn from, a folder to test on."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError
from common.files import leads_out
from common.strict_json import is_unicode
from dataset.image_list import Split, check_data_path, read_json
from dataset.images import list_images
from dataset.location import Url
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset, open_images
from dataset.shards.shard_folder import ShardFolder
from dataset.text import training_caption

FOLDERS: dict[Split, str] = {"train": "imagenet_train", "test": "imagenet"}
ANSWERS = Path("imagenet", "imagenet_answer.json")  # class index -> name
CLASSES = Path("imagenet", "imagenet_class.json")  # folder of a class (wnid) -> class index


class ClassificationDataset(ImageLabelDataset):
    """Images with their class; `classification_dataset` opens one.

    Args:
        rows: image and class index of each sample.
        names: of the classes.
        folder, visual, training: see `ImageLabelDataset`.
        prefix: the beginning of each caption to learn.
    """

    def __init__(
        self,
        rows: Sequence[tuple[str, int]],
        names: Sequence[str],
        folder: ImageFolder,
        visual: ImageConfig,
        *,
        prefix: str = "",
        training: bool = False,
    ) -> None:
        super().__init__([image for image, _ in rows], folder, visual, training)
        self.classes = [number for _, number in rows]
        self.names = names
        self.prefix = prefix

    def text(self, index: int) -> dict[str, Any]:
        """`image`, `class` (its index) and in training `caption`, the prefix and the class's name."""
        number = self.classes[index]
        text = {"image": self.images[index], "class": number}
        if self.training:
            text["caption"] = [training_caption(self.prefix, self.names[number])]
        return text


def classification_dataset(
    split: Split, data_path: Path | Url | str, visual: ImageConfig, *, prefix: str = "", shots: int = 1
) -> ClassificationDataset:
    """Opens `imagenet_train` or `imagenet` below `data_path`, a folder of images for each class.

    Args:
        split: `train` takes the first `shots` images of each class, by name; `test` all images.
        data_path: the parent of the two folders.
        visual, prefix: see `caption_dataset`.
        shots: training images of each class.

    Raises:
        UserError: something is missing or malformed, or a class has fewer images than `shots`.
    """
    data_path = check_data_path(data_path)
    names, folders = _read_classes(data_path)
    place = data_path / FOLDERS[split]
    files = open_images(place)
    packed: dict[str, list[str]] | None = None
    if isinstance(files, ShardFolder):
        packed = defaultdict(list)
        for name in sorted(files.images()[0]):
            folder, _, rest = name.partition("/")
            packed[folder].append(rest)
    rows = []
    for folder, number in folders.items():
        images = list_images(place / folder) if packed is None else packed[folder]
        if split == "train":
            if len(images) < shots:
                raise UserError(f"{place / folder}: {len(images)} images, fewer than 'shots' ({shots}) in the config")
            images = images[:shots]
        rows += [(f"{folder}/{image}", number) for image in images]
    folder = ImageFolder(place, FOLDERS[split])
    return ClassificationDataset(rows, names, folder, visual, prefix=prefix, training=split == "train")


def _read_classes(data_path: Path | Url) -> tuple[list[str], dict[str, int]]:
    """The names of classes, cleaned as the captions with them are; and the class index of each folder."""
    answers, classes = data_path / ANSWERS, data_path / CLASSES
    content = read_json(answers)
    if isinstance(content, dict):  # {"0": name, ...}
        try:
            content = [content[str(number)] for number in range(len(content))]
        except KeyError as error:
            raise UserError(f"list {answers}: class {error} is missing; expected 0 to n - 1") from None
    if not isinstance(content, list) or not all(
        isinstance(name, str) and name.strip() and is_unicode(name) for name in content
    ):
        raise UserError(f"list {answers}: expected class names by index")
    names = [training_caption("", name) for name in content]
    if "" in names:
        number = names.index("")
        raise UserError(f"list {answers}: the name of class {number}, '{content[number]}', has no letters")
    folders = read_json(classes)
    if not isinstance(folders, dict) or not folders:
        raise UserError(f"list {classes}: expected an object from folder to class index")
    for folder, number in folders.items():
        if folder != PurePosixPath(folder).name or leads_out(folder):
            raise UserError(f"list {classes}: '{folder}' is no name of a folder of images; correct or remove it")
        if type(number) is not int or not 0 <= number < len(content):
            raise UserError(
                f"list {classes}: class of '{folder}' is {number!r}, {answers.name} has {len(content)} names"
            )
    return names, dict(sorted(folders.items()))
