"""Several data sets read as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dataset.samples import ImageLabelDataset
from dataset.shuffle import BUFFER, Order, Source, counts, mixed, shuffled


class ConcatDataset(Dataset):
    """The samples of several data sets, one set after the other; their texts must have the same keys.

    Args:
        sources: the data sets.
        weights: shares of the sources in an epoch; None: in proportion to their lengths.
        samples_per_epoch: None: all samples.
    """

    def __init__(
        self,
        sources: Sequence[ImageLabelDataset],
        weights: Sequence[float] | None = None,
        samples_per_epoch: int | None = None,
    ) -> None:
        self.sources = sources
        self.ends = list(accumulate(len(source) for source in sources))
        self._starts = [0, *self.ends[:-1]]
        if samples_per_epoch is not None and weights is None:
            weights = [len(source) for source in sources]
        self.weights = weights
        self.epoch_length = samples_per_epoch or self.ends[-1]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        """A sample; its `index` counts through all sources.

        Args:
            index: from an order (`dataset.shuffle.mixed`), with the epoch of the sample's own data set.
        """
        epoch, index = divmod(index, len(self))
        number = bisect_right(self.ends, index)
        start = self._starts[number]
        sample = self.sources[number].get(index - start, epoch if self._is_mixed else None)
        return sample and sample | {"index": sample["index"] + start}

    def order(self, seed: int) -> Order:
        """The order in which an epoch reads the samples."""
        lengths = [len(source) for source in self.sources]
        if not self._is_mixed:
            return shuffled(len(self), seed)
        shares = lengths if self.weights is None else counts(self.weights, self.epoch_length)
        shards = [source.shards for source in self.sources]
        return mixed(list(map(Source, lengths, shares, shards)), seed)

    @property
    def _is_mixed(self) -> bool:
        """Whether each source is shuffled on its own, because of weights or of many shards."""
        return self.weights is not None or any(
            source.shards is not None and np.max(source.shards, initial=0) >= BUFFER for source in self.sources
        )

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch, see `ImageLabelDataset.set_epoch`."""
        for source in self.sources:
            source.set_epoch(epoch)

    def image_keys(self) -> list[str]:
        """Names of the samples' images that are unique among all data sets."""
        return [key for source in self.sources for key in source.image_keys()]

    @property
    def skipped(self) -> list[str]:
        """Images that could not be read so far."""
        return [image for source in self.sources for image in source.skipped]

    @property
    def unreadable(self) -> torch.Tensor:
        """Indices of the samples that could not be read so far, int (n,)."""
        return torch.cat([source.unreadable + start for source, start in zip(self.sources, self._starts, strict=True)])

    def recall_unreadable(self, indices: torch.Tensor) -> None:
        """Adds the unreadable samples of the run before its interruption, int (n,)."""
        for source, start in zip(self.sources, self._starts, strict=True):
            place = indices - start
            source.recall_unreadable(place[(place >= 0) & (place < len(source))])
