"""Images to be captioned: COCO, NoCaps, a list of your own, a folder of images (docs/data.md)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError
from common.limited_warnings import LimitedWarnings
from dataset.image_list import Split, captions_of, check_data_path, checked_id, custom_list, read_list
from dataset.images import list_images
from dataset.location import Url
from dataset.reference_captions import ImageId, check_references, read_ground_truth, read_nocaps
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset
from dataset.text import training_caption

logger = LimitedWarnings(__name__)


@dataclass(frozen=True)
class CaptionRow:
    """One sample: an image with its captions to learn, or in a test with its references."""

    image: str
    image_id: ImageId
    captions: tuple[str, ...]


@dataclass(frozen=True)
class _PublicList:
    """A split of a public data set.

    Attributes:
        file: the list, under `data_path`.
        folder: of the images, under `data_path`, and of the labels, under the folder of each expert.
        image_id: takes a row to its id.
        required: keys that a row must have, besides `image`.
        ground_truth: COCO caption file with the references, under `data_path`; None: they are in the list.
    """

    file: str
    folder: str
    image_id: Callable[[dict[str, Any]], ImageId]
    required: tuple[str, ...] = ("caption",)
    ground_truth: str | None = None


def coco_image_id(row: dict[str, Any]) -> int:
    """The integer at the end of the file name's stem."""
    number = re.search(r"\d+$", PurePosixPath(row["image"]).stem)
    if number is None or len(number[0]) > 18:
        raise UserError(f"image '{row['image']}': its name must end in its number, as COCO's do")
    return int(number.group())


_COCO_TRAIN = _PublicList("coco_karpathy_train.json", "vqav2", coco_image_id)
_LISTS: dict[tuple[str, Split], _PublicList] = {
    ("coco", "train"): _COCO_TRAIN,
    ("coco", "test"): _PublicList(
        "coco_karpathy_test.json", "vqav2", coco_image_id, ground_truth="coco_karpathy_test_gt.json"
    ),
    ("nocaps", "train"): _COCO_TRAIN,
    ("nocaps", "test"): _PublicList(
        "nocaps_val.json", "nocaps", lambda row: row["img_id"], ("img_id",), "nocaps_val_4500_captions.json"
    ),
    ("vg", "train"): _PublicList("vg_caption.json", "vg", lambda row: row["image"]),
}


class CaptionDataset(ImageLabelDataset):
    """Images with captions; `caption_dataset` opens one.

    Args:
        rows: the samples.
        folder, visual, training, tolerant: see `ImageLabelDataset`.
        prefix: the beginning of each caption.
        references: captions to score against, by image id; None: those of the rows.
        domains: by image id, where scores by domain are wanted.
        captions_per_image: captions of a training sample; they take turns over the epochs.
    """

    def __init__(
        self,
        rows: Sequence[CaptionRow],
        folder: ImageFolder,
        visual: ImageConfig,
        *,
        prefix: str = "",
        references: dict[ImageId, list[str]] | None = None,
        domains: dict[ImageId, str] | None = None,
        training: bool = False,
        captions_per_image: int = 1,
        tolerant: bool = False,
    ) -> None:
        super().__init__([row.image for row in rows], folder, visual, training, tolerant)
        self.captions_per_image = captions_per_image
        self.rows = rows
        self.prefix = prefix
        self.domains = domains
        self._references = references

    def text(self, index: int) -> dict[str, Any]:
        """`image_id`, `image` (its path in the list), and in training `caption`, prefixes included."""
        row = self.rows[index]
        text = {"image_id": row.image_id, "image": row.image}
        if self.training:
            chosen = self.in_turn(row.captions, self.captions_per_image)
            text["caption"] = [training_caption(self.prefix, caption) for caption in chosen]
        return text

    def references(self) -> dict[ImageId, list[str]] | None:
        """The captions to score against, by image id; None where there are none."""
        if self._references is not None:
            return self._references
        references: dict[ImageId, list[str]] = {}
        for row in self.rows:
            references.setdefault(row.image_id, []).extend(row.captions)
        return references if any(references.values()) else None


def caption_dataset(
    name: str,
    split: Split,
    data_path: Path | Url | str,
    visual: ImageConfig,
    *,
    prefix: str = "",
    train_list: str | None = None,
    test_list: str | None = None,
    captions_per_image: int = 1,
    tolerant: bool = False,
) -> CaptionDataset:
    """Opens a caption data set, checking its list and folders.

    Args:
        name: `coco`, `nocaps`, `vg` (training only), `custom` (images and lists of your own) or `demo` (a
            folder of images).
        split: `train` gives captions to learn; `demo` has only `test`.
        data_path: the folder of lists and image folders.
        visual: how images and labels are read.
        prefix: the beginning of each training caption.
        train_list, test_list: lists of a `custom` data set, absolute or relative to `data_path`.
        captions_per_image: 1: a training sample for each caption; more: one for each image, with so many of
            its captions.
        tolerant: skip samples with anything missing or damaged; `demo` always does.

    Raises:
        UserError: something is missing or malformed; names it.
    """
    training = split == "train"
    by_image = not training or captions_per_image > 1
    data_path = check_data_path(data_path)
    references = domains = None
    if (name, split) == ("demo", "test"):
        tolerant = True  # nobody has listed these files: links to nothing are among them
        folder = ImageFolder(data_path, demo_label_folder(data_path))
        rows = [CaptionRow(image, image, ()) for image in list_images(data_path, Path(visual.label_path))]
    elif name == "custom":
        folder = ImageFolder(data_path, "")
        path = data_path / custom_list(split, train_list, test_list)
        listed = read_list(path, ("caption",) if training else ())
        rows = _rows(listed, by_image, lambda row: row["image"], path, training)
        without = [row.image for row in rows if not row.captions]
        if 0 < len(without) < len(rows):
            raise UserError(f"list {path}: image '{without[0]}' has no caption, others have")
    elif (name, split) in _LISTS:
        layout = _LISTS[name, split]
        folder = ImageFolder(data_path / layout.folder, layout.folder)
        path = data_path / layout.file
        rows = _rows(read_list(path, layout.required), by_image, layout.image_id, path, training)
        if layout.ground_truth and (data_path / layout.ground_truth).is_file():
            path = data_path / layout.ground_truth
            references, domains = read_nocaps(path) if name == "nocaps" else (read_ground_truth(path), None)
            check_references(references, [row.image_id for row in rows], path)
    else:
        known = ", ".join(dict.fromkeys(known for known, _ in _LISTS))
        raise UserError(f"unknown caption data set '{name}' ({split}); known: {known}, custom, demo")
    return CaptionDataset(
        rows,
        folder,
        visual,
        prefix=prefix,
        references=references,
        domains=domains,
        training=training,
        captions_per_image=captions_per_image,
        tolerant=tolerant,
    )


def demo_label_folder(images: Path) -> str:
    """The folder of the labels of a folder of images, under the folder of each expert.

    It is the path from here to the images, such as `helpers/images`; for images elsewhere, their folder's name.
    """
    images = images.resolve()
    here = Path.cwd()
    return images.relative_to(here).as_posix() if images.is_relative_to(here) else images.name


def _rows(
    listed: list[dict[str, Any]],
    by_image: bool,
    image_id: Callable[[dict[str, Any]], ImageId],
    path: Path | Url,
    training: bool,
) -> list[CaptionRow]:
    """A sample for each image, with all its captions, or for each caption.

    Raises:
        UserError: two images have one id, or no caption can be learned.
    """
    if training:
        listed = _with_words(listed, path)
    if not by_image:
        return [CaptionRow(row["image"], image_id(row), (caption,)) for row in listed for caption in captions_of(row)]
    ids: dict[str, ImageId] = {}
    captions: dict[str, list[str]] = {}  # by image
    images: dict[str, str] = {}  # by id as text: to servers and files, 1 and "1" are the same
    for number, row in enumerate(listed, start=1):
        where, image = f"list {path}, row {number}", row["image"]
        own = checked_id(image_id(row), "image id", where)
        if ids.setdefault(image, own) != own:
            raise UserError(f"{where}: image '{image}' has the id {own}, but {ids[image]} in a row before")
        if images.setdefault(str(own), image) != image:
            raise UserError(f"{where}: image '{image}' has the id {own} of '{images[str(own)]}'")
        captions.setdefault(image, []).extend(captions_of(row))
    return [CaptionRow(image, ids[image], tuple(captions[image])) for image in ids]


def _with_words(listed: list[dict[str, Any]], path: Path | Url) -> list[dict[str, Any]]:
    """The rows without captions that cleaning leaves empty: a model would learn to say nothing."""
    kept = []
    for row in listed:
        found = captions_of(row)
        # Most captions have a letter, which cleaning keeps; looking for one is fast.
        words = [text for text in found if any(map(str.isalnum, text)) or training_caption("", text)]
        if len(words) < len(found):
            logger.warning("%s: left out a caption without words, of image %s", path, row["image"])
        if words:
            kept.append({**row, "caption": words})
    if not kept:
        raise UserError(f"list {path}: no caption has words; there is nothing to learn")
    return kept
