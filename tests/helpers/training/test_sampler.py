"""Every sample is read once an epoch, whatever the number of processes, and from any position on."""

import pytest
import torch
from torch.utils.data import DataLoader

from dataset.shuffle import shuffled
from helpers.training.sampler import EpochSampler, in_order


def split(length: int, world_size: int, epoch: int = 0, consumed: int = 0, shuffle: bool = True):
    """The indices that each process reads."""
    order = shuffled(length, seed=3) if shuffle else in_order(length)
    samplers = [EpochSampler(length, order, rank=rank, world_size=world_size) for rank in range(world_size)]
    for sampler in samplers:
        sampler.start_at(epoch, consumed)
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]
    return [list(sampler) for sampler in samplers]


def interleaved(parts: list[list[int]]) -> list[int]:
    """The global order of what the processes read."""
    return [index for together in zip(*parts, strict=True) for index in together]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_samples_equally(world_size, shuffle):
    parts = split(10, world_size, shuffle=shuffle)
    assert {len(part) for part in parts} == {-(-10 // world_size)}
    assert {index for part in parts for index in part} == set(range(10))
    assert split(10, world_size, consumed=10) == [[]] * world_size


def test_the_order_depends_on_the_epoch_alone():
    (alone,) = split(12, 1)
    for world_size in (2, 3, 4):
        assert interleaved(split(12, world_size)) == alone
    assert split(12, 1, epoch=1) != [alone]


def test_without_shuffling_the_order_is_the_lists():
    assert interleaved(split(5, 1, shuffle=False)) == [0, 1, 2, 3, 4]
    assert interleaved(split(2, 5, shuffle=False)) == [0, 1, 0, 1, 0]  # fewer samples than processes


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_from_a_position_the_rest_of_the_epoch_is_read(world_size):
    """The position means the same for any number of processes; the same number goes on as it would have."""
    (alone,) = split(11, 1, epoch=2)
    rest = interleaved(split(11, world_size, epoch=2, consumed=4))
    assert rest[:7] == alone[4:]
    assert rest[7:] == alone[: len(rest) - 7]
    whole = split(11, world_size, epoch=4)
    assert split(11, world_size, epoch=4, consumed=2 * world_size) == [part[2:] for part in whole]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_on_in_the_next_epoch_after_it_began_inside_one(workers):
    sampler = EpochSampler(20, shuffled(20, seed=1))
    loader = DataLoader(range(20), batch_size=3, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    read = []
    for epoch, consumed in ((0, 12), (1, 0), (2, 18)):
        sampler.start_at(epoch, consumed)
        assert len(loader) == -(-(20 - consumed) // 3)
        read.append(torch.cat(list(loader)).tolist())
    orders = [shuffled(20, seed=1)(epoch).tolist() for epoch in range(3)]
    assert read == [orders[0][12:], orders[1], orders[2][18:]]
