"""How images come together in a forward, and find their labels again."""

import pytest
import torch
from torch import Tensor

from experts.base import Target
from experts.segmentation.expert import SegmentationExpert


class Echo:
    """A network of one query, whose mask is everything and whose class is the image's first value."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(tuple(pixels.shape))
        assert not pixels[..., 40:, :].any(), "padding"
        batch, _, height, width = pixels.shape
        classes = torch.full((batch, 1, 256), -9.0)
        classes[range(batch), 0, (pixels[:, 0, 0, 0] * 10 + 5).round().long()] = 9.0
        return classes, torch.full((batch, 1, height // 4, width // 4), 9.0)


@pytest.mark.parametrize(
    ("batched", "seen"),
    [(False, [(1, 3, 64, 64)] * 3 + [(1, 3, 64, 96)]), (True, [(3, 3, 64, 64), (1, 3, 64, 96)])],
)
def test_images_of_one_size_share_a_forward_where_that_saves_time(batched, seen):
    network = Echo()
    expert = SegmentationExpert(
        {"seg_coco": network}, lambda image: image, (5.0,) * 3, (10.0,) * 3, torch.device("cpu")
    )
    assert not expert.batched
    expert.batched = batched
    sizes = [(40, 64), (40, 96), (40, 64), (40, 64)]
    inputs = [torch.full((3, *size), 7 + index, dtype=torch.uint8) for index, size in enumerate(sizes)]
    raw = expert.predict(inputs)
    assert sorted(network.seen) == sorted(seen)
    labels = [expert.decode(one, Target((2, 5)))["seg_coco"].map for one in raw]
    assert [label.tolist() for label in labels] == [[[7 + index] * 5] * 2 for index in range(4)]
