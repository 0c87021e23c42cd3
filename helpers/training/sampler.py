"""Which samples a process reads in an epoch, in which order, and from which position on.

An epoch is one pass over an order of all samples. Process r of w reads every w-th of them, from the r-th on,
so the batches of a step are one piece of the order. The position inside an epoch is one number: how many
samples all processes have consumed together. It means the same for any number of processes, batch size and
number of workers, and nothing is read to get there.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from dataset.shuffle import Order


def in_order(length: int) -> Order:
    """The samples as they are listed, in every epoch."""
    return lambda epoch: torch.arange(length)  # (n,)


class EpochSampler(Sampler[int]):
    """The indices of one process, from a position to the end of an epoch; call `start_at` before a pass.

    Every process gets equally many. Where the rest of the epoch does not divide by the number of processes,
    the first samples of the epoch are read again at its end, as many after a restart as without one;
    evaluation drops them by their index. No sample is dropped, so the last batch may be smaller.

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
        """Begins the next pass in this epoch, counted from 0, after this many samples of all processes."""
        self.epoch, self.consumed = epoch, consumed

    def __len__(self) -> int:
        """The number of indices of the next pass, on each process."""
        return -(-max(self.length - self.consumed, 0) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = self.order(self.epoch)  # (n,)
        positions = self.consumed + self.rank + self.world_size * torch.arange(len(self))
        # One by one: millions of Python's integers are large.
        return map(int, order[positions % self.length].numpy())
