"""Batches of one size."""

import torch

from experts.fixed_batches import fixed_chunks


def test_the_last_chunk_is_filled_with_zeros():
    inputs = [torch.full((2,), value, dtype=torch.uint8) for value in range(1, 6)]
    chunks = list(fixed_chunks(inputs, 3))
    assert [count for _, count in chunks] == [3, 2]
    assert [images[:, 0].tolist() for images, _ in chunks] == [[1, 2, 3], [4, 5, 0]]
    assert all(images.shape == (3, 2) and images.dtype == torch.uint8 for images, _ in chunks)


def test_no_inputs_no_chunks():
    assert list(fixed_chunks([], 3)) == []
