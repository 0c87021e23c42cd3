"""Images to be captioned: COCO, NoCaps, a list of your own, a folder of images (docs/data.md)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dataset.image_list import captions_of, parse_json, read_list, read_text
from dataset.images import list_images
from dataset.labels import LabelReader
from dataset.samples import ImageFolder, ImageLabelDataset
from dataset.text import training_caption
from dataset.transforms import FINE_TUNING_SCALE, JointTransform
from model.errors import UserError

Split = Literal["train", "test"]
ImageId = int | str


@dataclass(frozen=True)
class CaptionRow:
    """One sample: an image with one caption or several, in a test with all its references."""

    image: str
    image_id: ImageId
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ListLayout:
    """What a public data set's split is called on disk.

    Attributes:
        file: the list, under `data_path`.
        folder: the folder of its images under `data_path`, and of its labels under that of each expert.
        image_id: takes a row to its id.
        required: keys a row must have, besides `image`.
        ground_truth: COCO caption file with the references, under `data_path`; None: they are in the list.
    """

    file: str
    folder: str
    image_id: Callable[[dict[str, Any]], ImageId]
    required: tuple[str, ...]
    ground_truth: str | None = None


def coco_image_id(row: dict[str, Any]) -> int:
    """The integer at the end of the file name's stem."""
    number = re.search(r"\d+$", PurePosixPath(row["image"]).stem)
    if number is None:
        raise UserError(f"image '{row['image']}': its name must end in its number, as COCO's do")
    return int(number.group())


_COCO_TRAIN = ListLayout("coco_karpathy_train.json", "vqav2", coco_image_id, ("caption",))
_COCO_TEST = ListLayout(
    "coco_karpathy_test.json", "vqav2", coco_image_id, ("caption",), "coco_karpathy_test_gt.json"
)
_NOCAPS_TEST = ListLayout("nocaps_val.json", "nocaps", lambda row: row["img_id"], ("img_id",))
PUBLIC_LISTS: dict[tuple[str, Split], ListLayout] = {
    ("coco", "train"): _COCO_TRAIN,
    ("coco", "test"): _COCO_TEST,
    ("nocaps", "train"): _COCO_TRAIN,
    ("nocaps", "test"): _NOCAPS_TEST,
}


class CaptionDataset(ImageLabelDataset):
    """Images with captions.

    Args:
        rows: the samples.
        folder: where images and labels are.
        labels: reads the labels.
        transform: of image and labels.
        prefix: what captions begin with.
        seed: of the augmentation.
        references: captions to score against, by image id; None takes those of the rows.
        training: whether samples have captions to learn.
        captions_per_image: captions that a training sample has; they take turns over the epochs.
    """

    def __init__(
        self,
        rows: Sequence[CaptionRow],
        folder: ImageFolder,
        labels: LabelReader,
        transform: JointTransform,
        prefix: str = "",
        seed: int = 0,
        references: dict[ImageId, list[str]] | None = None,
        training: bool = False,
        captions_per_image: int = 1,
    ) -> None:
        super().__init__([row.image for row in rows], folder, labels, transform, seed, training)
        self.captions_per_image = captions_per_image
        self.rows = rows
        self.prefix = prefix
        self._references = references

    def text(self, index: int) -> dict[str, Any]:
        """`image_id`, `image` (its path in the list), and in training `caption`, prefixes included."""
        row = self.rows[index]
        text = {"image_id": row.image_id, "image": row.image}
        if self.training:
            first = self.epoch * self.captions_per_image
            turns = range(first, first + self.captions_per_image)
            chosen = [row.captions[turn % len(row.captions)] for turn in turns]
            text["caption"] = [training_caption(self.prefix, caption) for caption in chosen]
        return text

    def references(self) -> dict[ImageId, list[str]] | None:
        """What generated captions are scored against, by image id; None where there are none."""
        if self._references is not None:
            return self._references
        references: dict[ImageId, list[str]] = {}
        for row in self.rows:
            references.setdefault(row.image_id, []).extend(row.captions)
        return references if any(references.values()) else None


def caption_dataset(
    name: str,
    split: Split,
    *,
    data_path: Path | str,
    label_path: Path | str,
    experts: Sequence[str],
    image_resolution: int,
    label_resolution: int,
    prefix: str = "",
    train_list: str | None = None,
    test_list: str | None = None,
    augment: bool = True,
    captions_per_image: int = 1,
    seed: int = 0,
    compat: bool = False,
) -> CaptionDataset:
    """Opens a caption data set, checking its list and folders.

    Args:
        name: `coco`, `nocaps`, `custom` (images and lists of your own) or `demo` (a folder of images).
        split: `train` gives captions to learn; `demo` has only `test`.
        data_path: where lists and image folders are.
        label_path: where the experts' labels are.
        experts: modality names; none for PrismerZ.
        image_resolution: side of the image, pixels.
        label_resolution: side of the labels, pixels.
        prefix: what training captions begin with.
        train_list: list of a `custom` data set, absolute or relative to `data_path`.
        test_list: the same.
        augment: whether training images are cropped, mirrored and altered by RandAugment.
        captions_per_image: 1: a training sample for each caption; more: one for each image, with so many of
            its captions.
        seed: of the augmentation.
        compat: reproduce the original's odd behaviour (empty semantic labels, shifted labels).

    Raises:
        UserError: something is missing or malformed; names it.
    """
    by_image = split == "test" or captions_per_image > 1
    data_path = Path(data_path)
    if not data_path.is_dir():
        raise UserError(f"data_path {data_path} is missing; create it or change data_path in the config")
    references = None
    if (name, split) == ("demo", "test"):
        folder = ImageFolder(data_path, demo_label_folder(data_path))
        rows = [CaptionRow(image, image, ()) for image in list_images(data_path, Path(label_path))]
    elif name == "custom":
        folder = ImageFolder(data_path, "")
        list_name = train_list if split == "train" else test_list
        if list_name is None:
            raise UserError(f"config key {split}_list is missing: a custom data set needs it to {split}")
        required = ("caption",) if split == "train" else ()
        listed = read_list(data_path / list_name, required)
        rows = _rows(listed, by_image, lambda row: row["image"])
        without = [row.image for row in rows if not row.captions]
        if 0 < len(without) < len(rows):
            raise UserError(f"list {data_path / list_name}: image '{without[0]}' has no caption, others have")
    elif (name, split) in PUBLIC_LISTS:
        layout = PUBLIC_LISTS[name, split]
        folder = ImageFolder(data_path / layout.folder, layout.folder)
        rows = _rows(read_list(data_path / layout.file, layout.required), by_image, layout.image_id)
        if layout.ground_truth and (data_path / layout.ground_truth).is_file():
            references = read_ground_truth(data_path / layout.ground_truth)
    else:
        known = ", ".join(dict.fromkeys(known for known, _ in PUBLIC_LISTS))
        raise UserError(f"unknown caption data set '{name}' ({split}); known: {known}, custom, demo")
    training = split == "train"
    scale = FINE_TUNING_SCALE if training and augment else None
    return CaptionDataset(
        rows,
        folder,
        LabelReader(label_path, experts, compat),
        JointTransform(image_resolution, label_resolution, scale, compat),
        prefix,
        seed,
        references,
        training,
        captions_per_image,
    )


def demo_label_folder(images: Path) -> str:
    """Where the labels of a folder of images are, under the folder of each expert.

    The path from here to the images, as `experts/generate.py` makes it too: `helpers/images`. Images
    elsewhere go by their folder's name.
    """
    images = images.resolve()
    here = Path.cwd()
    return images.relative_to(here).as_posix() if images.is_relative_to(here) else images.name


def read_ground_truth(path: Path) -> dict[ImageId, list[str]]:
    """The references by image id, from a file in COCO's caption format."""
    return ground_truth_of(parse_json(path, read_text(path)), path)


def ground_truth_of(content: Any, path: Path) -> dict[ImageId, list[str]]:
    """The references by image id, from the content of a file in COCO's caption format."""
    references: dict[ImageId, list[str]] = {}
    try:
        for annotation in content["annotations"]:
            references.setdefault(annotation["image_id"], []).append(annotation["caption"])
    except (KeyError, TypeError):
        raise UserError(
            f"{path}: not in COCO's caption format ('annotations' of image_id, caption)"
        ) from None
    return references


def _rows(
    listed: list[dict[str, Any]], by_image: bool, image_id: Callable[[dict[str, Any]], ImageId]
) -> list[CaptionRow]:
    """A sample for each image, with its captions together; or one for each caption."""
    if not by_image:
        return [
            CaptionRow(row["image"], image_id(row), (caption,))
            for row in listed
            for caption in captions_of(row)
        ]
    ids: dict[str, ImageId] = {}
    captions: dict[str, list[str]] = {}  # by image
    for row in listed:
        ids.setdefault(row["image"], image_id(row))
        captions.setdefault(row["image"], []).extend(captions_of(row))
    return [CaptionRow(image, ids[image], tuple(captions[image])) for image in ids]
