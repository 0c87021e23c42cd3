"""From edge logits to their label."""

import numpy as np
import torch

from experts.edge.dexined import edge_label


def test_the_strongest_edge_is_black_and_the_weakest_white():
    logits = torch.logit(torch.tensor([[0.2, 0.4], [0.6, 0.8]]))
    label = edge_label(logits, (2, 2))
    assert np.abs(label.astype(int) - [[255, 170], [85, 0]]).max() <= 1
    assert label[0, 0] == 255
    assert edge_label(logits, (7, 5)).shape == (7, 5)


def test_a_flat_map_is_zeros():
    assert edge_label(torch.full((4, 4), 2.0), (2, 3)).tolist() == [[0] * 3] * 2
