"""Which samples a process reads in an epoch, in which order, and from which position on.

An epoch is one pass over an order of all samples. Process r of w reads every w-th of them, from the r-th
on, so that the batches with which all processes step are one piece of the order, and the position inside
the epoch is one number: how many samples of the order the processes have consumed together. It means the
same for any number of processes, batch size and number of workers, and nothing is read to get there.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from dataset.shuffle import Order


def in_order(length: int) -> Order:
    """As the samples are listed, in every epoch."""
    return lambda epoch: torch.arange(length)  # (n,)


class EpochSampler(Sampler[int]):
    """The indices of one process, from a position to the end of an epoch.

    Every process gets equally many. Where what is left of the epoch does not divide by the number of
    processes, the first samples of the epoch are read again at its end (evaluation drops them by their
    index): as many after a restart from a position as without one. No sample is dropped, so the last
    batch may be smaller.

    Args:
        length: samples of an epoch.
        order: in which they are read.
        rank, world_size: this process and their number.
    """

    def __init__(self, length: int, order: Order, *, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.order = length, order
        self.rank, self.world_size = rank, world_size
        self.epoch, self.consumed = 0, 0

    def start_at(self, epoch: int, consumed: int = 0) -> None:
        """Chooses where the next pass begins.

        Args:
            epoch: from 0.
            consumed: samples of its order, over all processes, that are left out.
        """
        self.epoch, self.consumed = epoch, consumed

    def __len__(self) -> int:
        """How many indices the next pass has on each process."""
        return -(-max(self.length - self.consumed, 0) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = self.order(self.epoch)  # (n,)
        positions = self.consumed + self.rank + self.world_size * torch.arange(len(self))
        # One by one: millions of Python's integers are large.
        return map(int, order[positions % self.length].numpy())
