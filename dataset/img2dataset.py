"""Crawls of the web as img2dataset writes them: an image with its caption beside it."""

import math
from pathlib import Path
from typing import Any

from common.errors import UserError
from dataset.image_list import read_text
from dataset.images import SUFFIXES, image_paths
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset, open_images
from dataset.shards.shard_folder import ShardFile, ShardFolder
from dataset.string_array import StringArray, refuse_shared_keys
from dataset.text import training_caption

_LOOKED_AT = 1000  # images of a crawl, to find out whether there are captions at all


class Img2Dataset(ImageLabelDataset):
    """`<key>.jpg` with its caption in `<key>.txt`, in shards or in folders of any depth, for training.

    A crawl is never whole: a sample whose image, caption or label is missing or damaged is skipped. A folder
    in which no image has a caption is the wrong one: a `UserError`.

    Args:
        folder, visual: see `ImageLabelDataset`.
        prefix: the beginning of each caption.
        captions_per_image: how often a sample has its one caption.
    """

    def __init__(
        self, folder: ImageFolder, visual: ImageConfig, *, prefix: str = "", captions_per_image: int = 1
    ) -> None:
        files, shards = open_images(folder.images), None
        if isinstance(files, ShardFolder):
            names, shards = files.images()
        else:
            names = StringArray(sorted(image_paths(files)))
            refuse_shared_keys(names, files)
        if not len(names):
            raise UserError(f"image folder {folder.images} has no images ({', '.join(SUFFIXES)})")
        super().__init__(names, folder, visual, training=True, tolerant=True, files=files, shards=shards)
        self.prefix = prefix
        self.captions_per_image = captions_per_image
        looked_at = range(0, len(names), math.ceil(len(names) / _LOOKED_AT))
        if not any(self._caption_file(index).is_file() for index in looked_at):
            raise UserError(
                f"image folder {folder.images}: of {len(looked_at)} images none has its caption beside it, "
                f"such as {self._caption_file(0)}"
            )

    def text(self, index: int) -> dict[str, Any]:
        """`image_id` and `image` (its path) and `caption`, prefix included."""
        image = self.images[index]
        path = self._caption_file(index)
        caption = read_text(path)
        if not training_caption("", caption):
            raise UserError(f"caption {path}: it has no words")
        captions = [training_caption(self.prefix, caption)] * self.captions_per_image
        return {"image_id": image, "image": image, "caption": captions}

    def _caption_file(self, index: int) -> Path | ShardFile:
        return self.file(index).with_suffix(".txt")
