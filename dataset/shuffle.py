"""The order in which an epoch reads its samples: shuffled, mixed, and with few shards open at a time.

An order is a function of seed and epoch alone, so that every process, and a resumed run, finds the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BUFFER = 16  # shards that are read at the same time; up to so many are shuffled as a folder is

# From an epoch to the indices of its samples in reading order, int64 (n,); the same on every process.
Order = Callable[[int], Tensor]


def shuffled(length: int, seed: int, shards: np.ndarray | None = None) -> Order:
    """A random order for every epoch.

    Args:
        length: samples.
        seed: of the draw.
        shards: the number of each sample's shard, int (length,): the shards are read in a random order,
            `BUFFER` of them at a time, whose samples are shuffled together. None: files of a folder.
    """

    def order(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        samples = torch.randperm(length, generator=generator)  # (n,)
        if shards is None or int(shards.max(initial=0)) < BUFFER:
            return samples
        places = torch.randperm(int(shards.max()) + 1, generator=generator)  # of the shards
        blocks = (places // BUFFER)[torch.from_numpy(shards.clip(min=0)).long()]  # of each sample
        return samples[torch.argsort(blocks[samples], stable=True)]

    return order


@dataclass(frozen=True)
class Source:
    """One of the data sets of a mix.

    Attributes:
        length: its samples.
        count: its samples in an epoch; if these are more, some come twice.
        shards: see `shuffled`.
    """

    length: int
    count: int
    shards: np.ndarray | None = None


def mixed(sources: Sequence[Source], seed: int) -> Order:
    """The samples of several sources, drawn at random from one another, each source in its own shuffled order.

    A source is read to its end, in a new order each time, and the next epoch goes on where this one stops: no
    sample comes again before all others of its source have.

    Returns:
        The order. An index is `passes * total + sample`: the sample's number among the `total` samples of all
        sources, and the number of times that its source has been read before.
    """
    total = sum(source.length for source in sources)
    starts = np.cumsum([0, *(source.length for source in sources)])
    # A seed for each source, and one to draw the sources.
    seeds = [int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) for number in range(len(sources) + 1)]
    passes = [shuffled(source.length, own, source.shards) for source, own in zip(sources, seeds, strict=False)]

    def order(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[-1] + epoch)
        counts = torch.tensor([source.count for source in sources])
        turns = torch.repeat_interleave(torch.arange(len(sources)), counts)
        turns = turns[torch.randperm(len(turns), generator=generator)]  # (n,), the source of each sample
        indices = torch.empty_like(turns)
        for number, source in enumerate(sources):
            first, last = epoch * source.count, (epoch + 1) * source.count
            parts = []
            for times in range(first // source.length, -(-last // source.length)):
                begin = times * source.length
                part = passes[number](times)[max(first - begin, 0) : last - begin]
                parts.append(part + int(starts[number]) + times * total)
            if parts:
                indices[turns == number] = torch.cat(parts)
        return indices

    return order


def counts(weights: Sequence[float], total: int) -> list[int]:
    """Splits a total into whole parts in proportion to weights; the rest goes to the largest fractions."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(part) for part in exact]
    by_fraction = sorted(range(len(parts)), key=lambda number: parts[number] - exact[number])
    for number in by_fraction[: total - sum(parts)]:
        parts[number] += 1
    return parts
