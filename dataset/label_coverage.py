"""How many images of a data set have labels, before any label is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from dataset.label_files import script
from dataset.labels import LabelReader
from dataset.samples import ImageLabelDataset
from model.modalities import Modality

_LOOKED_AT = 1000  # samples of a data set
_SHARDS = 16  # that these may lie in: each shard's index has to be read


@dataclass(frozen=True)
class Coverage:
    """The number of images that were looked at, whether they are a part of the data set, and labels by expert."""

    images: int
    sampled: bool
    labelled: Mapping[str, int]

    def __str__(self) -> str:
        of = f"{self.images:,} images that were looked at" if self.sampled else f"{self.images:,} images"
        return f"labels of {of}: " + ", ".join(f"{name} {count:,}" for name, count in self.labelled.items())


def label_coverage(dataset: ImageLabelDataset) -> Coverage:
    """Counts the labels of a data set's images, or of a large one's samples spread over its list.

    Raises:
        UserError: an expert has no label of any of them, or, in a data set that is not tolerant, lacks one.
    """
    # Packed samples are taken from a few shards.
    chosen = np.arange(len(dataset))
    if dataset.shards is not None:
        numbers = np.unique(dataset.shards[dataset.shards >= 0])
        chosen = np.flatnonzero(np.isin(dataset.shards, numbers[_evenly(len(numbers), _SHARDS)]))
    samples = chosen[_evenly(len(chosen), _LOOKED_AT)].tolist()
    images = {dataset.images[sample]: sample for sample in samples}
    reader = dataset.labels
    found = dict.fromkeys((entry.name for entry in reader.modalities), 0)
    missing = {}
    for image, sample in images.items():
        key, shard = dataset.folder.label_key(image), dataset.shard(sample)
        for entry in reader.modalities:
            path = reader.path(entry, key, shard)
            if path.is_file():
                found[entry.name] += 1
            elif not reader.may_lack(entry):
                missing.setdefault(entry.name, path)
    for entry in reader.modalities:
        if images and not found[entry.name] and not _may_have_none(reader, entry):
            folder = reader.root / entry.name / dataset.folder.labels
            raise UserError(
                f"label folder {folder}: no label of {len(images):,} images of the list; run "
                f"{script(entry)}, or take {entry.name} out of the experts"
            )
        if entry.name in missing and not dataset.tolerant:
            lacking = f"{len(images) - found[entry.name]:,} of {len(images):,} images have no {entry.name} label"
            raise UserError(f"label {missing[entry.name]} is missing: {lacking}; run {script(entry)}")
    return Coverage(len(images), len(samples) < len(dataset), found)


def _evenly(length: int, most: int) -> np.ndarray:
    """At most so many numbers below a length, evenly spaced."""
    return np.linspace(0, length - 1, min(length, most)).round().astype(np.int64)


def _may_have_none(reader: LabelReader, entry: Modality) -> bool:
    """Whether the expert looked at other images and found nothing in these, as an expert of words may."""
    if not reader.may_lack(entry):
        return False
    folder = reader.root / entry.name
    if not isinstance(folder, Path):
        return True
    return any(name.endswith((".png", ".tar")) for _, _, names in os.walk(folder) for name in names)
