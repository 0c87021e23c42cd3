"""Which samples a process reads in an epoch, and in which order."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Splits a data set over processes; every process gets equally many samples.

    The order is a function of the seed and the epoch alone, so a resumed run, or one with another number
    of processes, reads the same global order. Where the length does not divide by the number of
    processes, the first samples are read again at the end; evaluation drops them by their data index.

    Args:
        length: samples in the data set.
        shuffle: permute anew in each epoch; otherwise in order.
        seed: with the epoch, fixes the permutation.
        rank, world_size: this process and their number.
    """

    def __init__(self, length: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1):
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        else:
            order = torch.arange(self.length)
        padding = len(self) * self.world_size - self.length
        order = torch.cat([order, order[:padding]])
        return iter(order[self.rank :: self.world_size].tolist())
