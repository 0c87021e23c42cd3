"""Sizes at which networks see images."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from experts.resize import shortest_side


def test_it_is_torchvisions_resize():
    resize = Resize(479, max_size=480)
    sizes = np.random.default_rng(0).integers(60, 1500, (200, 2)).tolist()
    for size in [*sizes, (479, 480), (480, 479), (500, 500), (640, 480), (333, 500)]:
        image = Image.new("L", size)
        assert shortest_side(image).size == resize(image).size, size
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    assert np.array_equal(shortest_side(image), resize(image))


@pytest.mark.parametrize(("size", "expected"), [((3000, 2), (480, 1)), ((2, 3000), (1, 480)), ((1, 1), (479, 479))])
def test_no_side_becomes_nothing(size, expected):
    assert shortest_side(Image.new("RGB", size)).size == expected
