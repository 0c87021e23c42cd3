"""Batches of one size, and of one shape."""

import pytest
import torch

from experts.fixed_batches import by_shape, fixed_chunks


def test_the_last_chunk_is_filled_with_zeros():
    inputs = [torch.full((2,), value, dtype=torch.uint8) for value in range(1, 6)]
    chunks = list(fixed_chunks(inputs, 3))
    assert [count for _, count in chunks] == [3, 2]
    assert [images[:, 0].tolist() for images, _ in chunks] == [[1, 2, 3], [4, 5, 0]]
    assert all(images.shape == (3, 2) and images.dtype == torch.uint8 for images, _ in chunks)
    assert list(fixed_chunks([], 3)) == []


@pytest.mark.parametrize(("together", "batches"), [(False, [[0], [1], [2], [3]]), (True, [[0, 2, 3], [1]])])
def test_images_of_one_shape_may_share_a_forward(together, batches):
    inputs = [torch.full((3, 4, width), index) for index, width in enumerate((5, 6, 5, 5))]
    seen = []

    def run(images: torch.Tensor, indices: list[int]) -> list[int]:
        seen.append(indices)
        return images[:, 0, 0, 0].tolist()

    assert by_shape(inputs, together, run) == [0, 1, 2, 3]
    assert seen == batches
