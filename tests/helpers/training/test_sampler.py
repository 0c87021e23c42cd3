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


def test_the_order_is_the_same_for_any_number_of_processes():
    (alone,) = split(12, 1)
    for world_size in (2, 3, 4):
        assert interleaved(split(12, world_size)) == alone


def test_the_order_depends_on_the_epoch_alone():
    assert split(50, 1, epoch=1) == split(50, 1, epoch=1)
    assert split(50, 1, epoch=1) != split(50, 1, epoch=2)


def test_without_shuffling_the_order_is_the_lists():
    assert split(5, 1, shuffle=False) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_from_a_position_the_rest_of_the_epoch_is_read_padding_included(world_size):
    whole = split(11, world_size, epoch=4)
    steps = 2
    rest = split(11, world_size, epoch=4, consumed=steps * world_size)
    assert rest == [part[steps:] for part in whole]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_a_position_means_the_same_for_another_number_of_processes(world_size):
    (alone,) = split(11, 1, epoch=2)
    rest = interleaved(split(11, world_size, epoch=2, consumed=4))
    assert rest[:7] == alone[4:]
    assert rest[7:] == alone[: len(rest) - 7]


@pytest.mark.parametrize("world_size", [1, 3])
def test_at_the_end_of_an_epoch_nothing_is_left(world_size):
    assert split(10, world_size, consumed=10) == [[]] * world_size


def test_fewer_samples_than_processes():
    assert interleaved(split(2, 5, shuffle=False)) == [0, 1, 0, 1, 0]


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
