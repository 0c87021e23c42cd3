"""Anchors and moved boxes."""

import pytest
import torch

from experts.detection.boxes import cell_anchors, grid_anchors, move


def test_anchors_of_a_cell_have_the_area_of_their_size():
    anchors = cell_anchors(32, (0.5, 1.0, 2.0), octaves=3)
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    areas = (width * height).sqrt().tolist()
    assert areas == pytest.approx([32 * 2 ** (octave / 3) for octave in (0, 0, 0, 1, 1, 1, 2, 2, 2)])
    assert (height / width).tolist() == pytest.approx([0.5, 1, 2] * 3)
    assert anchors[1].tolist() == [-16, -16, 16, 16]


def test_anchors_of_a_grid_go_by_row_column_and_kind():
    cell = torch.tensor([[-1.0, -2, 1, 2], [-3, -3, 3, 3]])
    anchors = grid_anchors(cell, height=2, width=3, stride=8)
    assert anchors.shape == (12, 4)
    assert anchors[3].tolist() == [5, -3, 11, 3]
    assert anchors[6].tolist() == [-1, 6, 1, 10]


def test_a_box_is_moved_by_its_own_size_and_grows_only_so_much():
    boxes = torch.tensor([[10.0, 20, 30, 60]]).repeat(2, 1)
    deltas = torch.tensor([[1.0, -0.5, 0, 0], [0, 0, 100, 0]])
    moved = move(boxes, deltas, (10.0, 10.0, 5.0, 5.0))
    assert moved[0].tolist() == pytest.approx([12, 18, 32, 58])
    assert (moved[1, 2] - moved[1, 0]).item() == pytest.approx(20 * 62.5)
