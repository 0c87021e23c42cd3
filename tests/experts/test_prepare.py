"""Sizes at which networks see images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Resize
from torchvision.transforms.functional import pil_to_tensor

from experts.prepare import keep_shape


def test_an_image_keeps_its_shape_as_with_torchvisions_resize():
    resize = Resize(479, max_size=480)
    sizes = np.random.default_rng(0).integers(60, 1500, (200, 2)).tolist()
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
