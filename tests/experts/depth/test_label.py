"""From a depth map to its label."""

import torch

from experts.depth.label import depth_label


def test_the_nearest_is_white_and_the_farthest_black():
    depth = torch.tensor([[3.0, 5.0], [7.0, 11.0]])
    assert depth_label(depth, (2, 2)).tolist() == [[0, 63], [127, 255]]
    label = depth_label(depth, (5, 9))
    assert label.shape == (5, 9)
    assert (label[0, 0], label[-1, -1]) == (0, 255)


def test_a_flat_map_is_zeros():
    assert depth_label(torch.full((4, 4), 3.0), (2, 3)).tolist() == [[0] * 3] * 2
