"""The visual half of every data set: images with labels, read and transformed; unreadable ones are skipped."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from common.errors import UserError
from common.limited_warnings import LimitedWarnings
from dataset.images import UnreadableImage, read_image
from dataset.label_files import DamagedLabel
from dataset.labels import LabelReader
from dataset.location import Url
from dataset.shards.shard_folder import Files, ShardFile, ShardFolder, open_folder
from dataset.shuffle import Order, shuffled
from dataset.string_array import key_of, refuse_shared_keys
from dataset.transforms import FINE_TUNING_SCALE, JointTransform


def open_images(folder: Path | Url) -> Files:
    """The folder of a data set's images, or the shards in it; a `UserError` if it is missing."""
    if isinstance(folder, Path) and not folder.is_dir():
        raise UserError(f"image folder {folder} is missing; check data_path")
    return open_folder(folder)


@dataclass(frozen=True)
class ImageFolder:
    """Where a data set's images lie, and what their labels are filed under.

    Attributes:
        images: folder that the paths in a list are relative to, or its address; it may hold shards.
        labels: the data set's folder below the folder of each expert; may be empty.
    """

    images: Path | Url
    labels: str

    def label_key(self, image: str) -> str:
        """The image's label path within an expert's folder, without suffix."""
        return (PurePosixPath(self.labels) / image).with_suffix("").as_posix()


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How images and labels are read, the same for all data sets of a task.

    Attributes:
        label_path: the folder of the experts' labels.
        experts: modality names; none for PrismerZ.
        image_resolution, label_resolution: sides of image and labels, pixels.
        augment: whether training images are cropped, mirrored and altered by RandAugment.
        crop_scale: share of the area that a training crop keeps.
        seed: of the augmentation.
        compat: reproduce the original's odd behaviour (empty semantic labels, shifted labels).
        classes: the number of classes, by expert; labels of other classes are refused.
    """

    label_path: Path | Url | str
    experts: Sequence[str]
    image_resolution: int
    label_resolution: int
    augment: bool = True
    crop_scale: tuple[float, float] = FINE_TUNING_SCALE
    seed: int = 0
    compat: bool = False
    classes: Mapping[str, int] = field(default_factory=dict)

    def labels(self) -> LabelReader:
        """The reader of the labels."""
        return LabelReader(self.label_path, self.experts, self.compat, self.classes)

    def transform(self, training: bool) -> JointTransform:
        """The transform of a training or a test set."""
        scale = self.crop_scale if training and self.augment else None
        return JointTransform(self.image_resolution, self.label_resolution, scale, self.compat)


class ImageLabelDataset(Dataset, ABC):
    """Images with expert labels. Subclasses add texts.

    The augmentation of a sample depends on the seed, the epoch and its index alone, so neither the number
    of workers nor a resumed run changes it. Call `set_epoch` before each epoch.

    An image that cannot be decoded, or has a damaged label, is logged once and noted in `skipped`. In
    training the next readable sample takes its place, so that batches keep their size; in evaluation the
    sample is None, which `collate` drops.

    Args:
        images: paths relative to the image folder.
        folder: where images and labels are.
        visual: how they are read.
        training: whether these are training samples.
        tolerant: skip also samples with anything missing or damaged, as crawled data sets need.
        files: the image folder, if it is open already.
        shards: the number of each image's shard, if known, int (n,).

    Attributes:
        shards: the same; None where the images are files of a folder.
    """

    def __init__(
        self,
        images: Sequence[str],
        folder: ImageFolder,
        visual: ImageConfig,
        training: bool = False,
        tolerant: bool = False,
        files: Files | None = None,
        shards: np.ndarray | None = None,
    ) -> None:
        self.images = images
        self.folder = folder
        self.files = open_images(folder.images) if files is None else files
        if shards is None and isinstance(self.files, ShardFolder):
            shards = self.files.locate(images)
        self.shards = shards
        self.labels = visual.labels()
        self.labels.open_folder(folder.labels, None if self.shards is None else self.files.shards)
        if visual.experts and self.shards is None:
            refuse_shared_keys(images, folder.images)
        elif visual.experts and not self.labels.are_packed:
            # Packed labels are shared only within a shard: see `ShardFolder.index`.
            pairs = zip(images, self.shards.tolist(), strict=True)
            names = [f"{key_of(image)}.{shard}" for image, shard in pairs]
            refuse_shared_keys(names, f"{folder.images}, with the number of its shard behind a name")
        self.transform = visual.transform(training)
        self.seed = visual.seed
        self.training = training
        self.tolerant = tolerant
        self._log = LimitedWarnings(__name__)
        # Shared memory: workers see a new epoch, and this process sees the samples that they skip.
        self._own_epoch: int | None = None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._unreadable = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch, with its own augmentations; broken shards are read again."""
        self._epoch.fill_(epoch)
        self.labels.retry_broken()
        if isinstance(self.files, ShardFolder):
            self.files.retry_broken()

    @property
    def epoch(self) -> int:
        """The present epoch, in this process and in the workers; in a mix, the epoch of this data set alone."""
        return int(self._epoch) if self._own_epoch is None else self._own_epoch

    def in_turn(self, texts: Sequence[Any], count: int) -> list[Any]:
        """So many of an image's texts, the next ones in each epoch."""
        first = self.epoch * count
        return [texts[turn % len(texts)] for turn in range(first, first + count)]

    @property
    def skipped(self) -> list[str]:
        """Images that could not be read so far."""
        return [self.images[index] for index in self.unreadable.tolist()]

    @property
    def unreadable(self) -> torch.Tensor:
        """Indices of the samples that could not be read so far, int (n,)."""
        return self._unreadable.nonzero().flatten()

    def recall_unreadable(self, indices: torch.Tensor) -> None:
        """Adds the unreadable samples of the run before its interruption, int (n,)."""
        self._unreadable[indices] = True

    def image_keys(self) -> list[str]:
        """Names of the samples' images that are unique among all data sets: the paths of their labels."""
        return [self.folder.label_key(image) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        """A sample: `rgb` uint8 (3, H, H), `labels`, `tables`, `index`, and the subclass's `text`."""
        sample = self._read(index)
        if sample is not None or not self.training:
            return sample
        # Spread the replacements when a whole shard is unreadable.
        start = self._drawn(index) if self._is_broken(index) else index
        for step in range(1, len(self) + 1):
            sample = self._read((start + step) % len(self))
            if sample is not None:
                return sample
        raise UserError(f"image folder {self.folder.images}: no sample of the list can be read")

    def get(self, index: int, epoch: int | None) -> dict[str, Any] | None:
        """A sample, with the augmentation and the texts of this epoch; None: the epoch of `set_epoch`."""
        self._own_epoch = epoch
        return self[index]

    @property
    def epoch_length(self) -> int:
        """Samples that an epoch reads."""
        return len(self)

    def order(self, seed: int) -> Order:
        """The order in which an epoch reads the samples."""
        return shuffled(len(self), seed, self.shards)

    @abstractmethod
    def text(self, index: int) -> dict[str, Any]:
        """The texts and ids of a sample, by key in the batch."""

    def _read(self, index: int) -> dict[str, Any] | None:
        """A sample; None if it is unreadable."""
        kind = reason = ""
        if not self._is_broken(index):
            try:
                return self._load(index)
            except UnreadableImage as error:
                kind, reason = "skipped an image that cannot be decoded: %s", str(error)
            except UserError as error:
                if not self.tolerant and not isinstance(error, DamagedLabel):
                    raise
                kind, reason = "skipped a sample: %s", str(error)
        if not self.training and self._is_broken(index):  # scores that lack a whole shard would mislead
            raise UserError(f"image {self.file(index)}: its shard, or that of its labels, cannot be read")
        if reason and not self._unreadable[index]:  # a broken shard has had its warning
            self._log.warning(kind, reason)
        self._unreadable[index] = True
        return None

    def _load(self, index: int) -> dict[str, Any]:
        key, shard = self.folder.label_key(self.images[index]), self.shard(index)
        if shard is not None:
            self.labels.read_ahead(key, shard)
        text = self.text(index)
        image = read_image(self.file(index))
        pictures, tables = self.labels.read(key, image.size, shard)
        generator = torch.Generator().manual_seed(self._drawn(index))
        rgb, labels = self.transform(image, pictures, generator)
        return {"rgb": rgb, "labels": labels, "tables": tables, "index": index, **text}

    def file(self, index: int) -> Path | ShardFile:
        """A sample's image."""
        name = self.images[index]
        if self.shards is None:
            return self.files / name
        number = int(self.shards[index])
        return ShardFile(self.files, name, None if number < 0 else number)

    def shard(self, index: int) -> str | None:
        """The name of a sample's shard; None if its image is a file of a folder, or in no shard."""
        if self.shards is None or self.shards[index] < 0:
            return None
        return self.files.shards[self.shards[index]]

    def _is_broken(self, index: int) -> bool:
        shard = self.shard(index)
        return shard is not None and (self.files.is_broken(self.shards[index]) or self.labels.is_broken(shard))

    def _drawn(self, index: int) -> int:
        """A number drawn for this sample in this epoch."""
        entropy = np.random.SeedSequence([self.seed, self.epoch, index])
        return int(entropy.generate_state(1)[0])
