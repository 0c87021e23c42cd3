"""Several data sets read as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from dataset.samples import ImageLabelDataset


class JoinedDataset(Dataset):
    """The samples of several data sets, one set after the other; their texts must have the same keys."""

    def __init__(self, sources: Sequence[ImageLabelDataset]) -> None:
        self.sources = sources
        self.ends = list(accumulate(len(source) for source in sources))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        """A sample; its `index` counts through all sources."""
        number = bisect_right(self.ends, index)
        start = self.ends[number - 1] if number else 0
        sample = self.sources[number][index - start]
        return sample and sample | {"index": sample["index"] + start}

    def set_epoch(self, epoch: int) -> None:
        """Chooses the augmentations of the next pass."""
        for source in self.sources:
            source.set_epoch(epoch)

    def image_keys(self) -> list[str]:
        """What names each sample's image among all data sets."""
        return [key for source in self.sources for key in source.image_keys()]

    @property
    def skipped(self) -> list[str]:
        """Images of the samples that were met so far and could not be read."""
        return [image for source in self.sources for image in source.skipped]
