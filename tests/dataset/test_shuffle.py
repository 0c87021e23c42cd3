"""Orders of an epoch: everything once, shard by shard, mixed by weights."""

import numpy as np
import pytest
import torch

from dataset.shuffle import BUFFER, Source, counts, mixed, shuffled

SHARDS = np.repeat(np.arange(5 * BUFFER), 10)  # ten samples each


def test_few_shards_are_shuffled_as_a_folder_is() -> None:
    few = np.repeat(np.arange(BUFFER), 3)
    assert torch.equal(shuffled(len(few), 3, few)(1), shuffled(len(few), 3)(1))


def test_many_shards_are_read_some_at_a_time() -> None:
    order = shuffled(len(SHARDS), 0, SHARDS)
    first, again, second = order(0), order(0), order(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert first.sort().values.tolist() == list(range(len(SHARDS)))
    blocks = first.view(5, -1)
    for block in blocks:
        shards = SHARDS[block.numpy()]
        assert len(set(shards)) == BUFFER
        assert (np.diff(shards) < 0).sum() > len(shards) / 4  # shuffled within
    assert set(SHARDS[first[: BUFFER * 10].numpy()]) != set(SHARDS[second[: BUFFER * 10].numpy()])


def test_seeds_and_epochs_are_drawn_apart() -> None:
    orders = [shuffled(20, seed)(epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len(set(map(tuple, orders))) == 16


def test_a_mix_reads_each_source_to_its_end_before_again() -> None:
    sources = [Source(7, 5), Source(3, 6), Source(len(SHARDS), 9, SHARDS)]
    total = sum(source.length for source in sources)
    order = mixed(sources, seed=1)
    starts = [0, 7, 10]
    seen = [[] for _ in sources]
    for epoch in range(7):
        indices = order(epoch)
        assert torch.equal(indices, mixed(sources, seed=1)(epoch))
        assert len(indices) == 20
        for index in indices.tolist():
            visit, sample = divmod(index, total)
            source = max(number for number, start in enumerate(starts) if sample >= start)
            seen[source].append((visit, sample - starts[source]))
    for source, read in zip(sources, seen, strict=True):
        assert len(read) == 7 * source.count
        assert len(set(read)) == len(read)
        for visit in range(len(read) // source.length):
            part = read[visit * source.length : (visit + 1) * source.length]
            assert {times for times, _ in part} == {visit}
            assert {sample for _, sample in part} == set(range(source.length))


def test_sources_of_a_mix_lie_among_one_another() -> None:
    order = mixed([Source(100, 100), Source(100, 100)], seed=0)
    first, second = order(0) % 200 < 100, order(1) % 200 < 100  # whose turn it is
    assert 30 < first[:100].sum() < 70
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [([1, 1], 5, [3, 2]), ([0.5, 0.25, 0.25], 8, [4, 2, 2]), ([1, 2, 4], 10, [1, 3, 6])],
)
def test_counts_add_up(weights, total, expected) -> None:
    assert counts(weights, total) == expected
