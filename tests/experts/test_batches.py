"""Sizes at which networks see images, and batches of one size or one shape."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Resize
from torchvision.transforms.functional import pil_to_tensor

from experts.batches import by_shape, fixed_chunks, keep_shape


def test_an_image_keeps_its_shape_as_with_torchvisions_resize():
    resize = Resize(479, max_size=480)
    sizes = np.random.default_rng(0).integers(60, 1500, (60, 2)).tolist()
    for size in [*sizes, (479, 480), (480, 479), (500, 500), (640, 480), (333, 500)]:
        image = Image.new("RGB", size)
        assert keep_shape(image, "rgb").shape[:0:-1] == resize(image).size, size
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    expected = pil_to_tensor(resize(image))
    assert torch.equal(keep_shape(image, "rgb"), expected)
    assert torch.equal(keep_shape(image, "bgr"), expected.flip(0))


@pytest.mark.parametrize(("size", "expected"), [((3000, 2), (480, 1)), ((2, 3000), (1, 480)), ((1, 1), (479, 479))])
def test_no_side_becomes_nothing(size, expected):
    assert keep_shape(Image.new("RGB", size), "rgb").shape[:0:-1] == expected


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
