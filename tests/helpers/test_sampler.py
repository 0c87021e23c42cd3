"""Every sample is read once an epoch, whatever the number of processes."""

import pytest

from helpers.sampler import EpochSampler


def split(length: int, world_size: int, epoch: int = 0, shuffle: bool = True) -> list[list[int]]:
    samplers = [
        EpochSampler(length, shuffle=shuffle, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_samples_equally(world_size, shuffle):
    parts = split(10, world_size, shuffle=shuffle)
    assert {len(part) for part in parts} == {-(-10 // world_size)}
    assert {index for part in parts for index in part} == set(range(10))


def test_the_order_is_the_same_for_any_number_of_processes():
    (alone,) = split(12, 1)
    first, second = split(12, 2)
    assert [index for pair in zip(first, second, strict=True) for index in pair] == alone


def test_the_order_depends_on_the_epoch_alone():
    assert split(50, 1, epoch=1) == split(50, 1, epoch=1)
    assert split(50, 1, epoch=1) != split(50, 1, epoch=2)


def test_without_shuffling_the_order_is_the_lists():
    assert split(5, 1, shuffle=False) == [[0, 1, 2, 3, 4]]
