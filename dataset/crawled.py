"""Image-caption pairs as img2dataset leaves them: a caption file beside each image (CC12M, CC3M+SBU)."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataset.image_list import read_text
from dataset.images import SUFFIXES, image_paths
from dataset.samples import ImageFolder, ImageLabelDataset, Visual
from dataset.text import training_caption
from model.errors import UserError


class Names(Sequence[str]):
    """Millions of names in one block of memory, which processes share as it is."""

    def __init__(self, names: Sequence[str]) -> None:
        self._encoded = np.array([os.fsencode(name) for name in names])

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self._encoded[index])


class CrawledDataset(ImageLabelDataset):
    """`<folder>/<shard>/<key>.jpg` with its caption in `<key>.txt`, for training.

    A crawl is never whole: a sample whose image, caption or label is missing or damaged is skipped.

    Args:
        folder: where images, captions and labels are.
        visual: how images and labels are read.
        prefix: what captions begin with.
        captions_per_image: how often a sample brings its one caption.
    """

    def __init__(
        self, folder: ImageFolder, visual: Visual, *, prefix: str = "", captions_per_image: int = 1
    ) -> None:
        if not folder.images.is_dir():
            raise UserError(f"image folder {folder.images} is missing; check data_path")
        names = Names(sorted(image_paths(folder.images)))
        if not len(names):
            raise UserError(f"image folder {folder.images} has no images ({', '.join(SUFFIXES)})")
        super().__init__(names, folder, visual, training=True, tolerant=True)
        self.prefix = prefix
        self.captions_per_image = captions_per_image

    def text(self, index: int) -> dict[str, Any]:
        """`image_id` and `image` (its path) and `caption`, prefix included."""
        image = self.images[index]
        path = (self.folder.images / image).with_suffix(".txt")
        caption = read_text(path).strip()
        if not caption:
            raise UserError(f"caption {path}: empty")
        captions = [training_caption(self.prefix, caption)] * self.captions_per_image
        return {"image_id": image, "image": image, "caption": captions}
