"""Overlaps of quadrilaterals and what becomes of overlapping ones."""

import numpy as np
import pytest

from experts.ocr.quads import Quads, assign, merge, rotated_boxes


def boxes(*bounds: tuple[float, float, float, float]) -> np.ndarray:
    """Left, top, right, bottom -> corners."""
    return np.array([[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in bounds], float)


def merged(corners: np.ndarray, scores: list[float], threshold: float = 0.15) -> tuple[np.ndarray, ...]:
    return merge(corners, np.array(scores), threshold, np.arange(len(scores), dtype=float)[:, None])


def test_boxes_turn_about_their_point_with_y_downwards():
    (box,) = rotated_boxes(np.array([[10.0, 20.0]]), np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([np.pi / 2]))
    np.testing.assert_allclose(box, [[11, 17], [11, 24], [8, 24], [8, 17]], atol=1e-9)


def test_iou_of_a_square_and_itself_turned():
    square = boxes((-1, -1, 1, 1))
    turned = rotated_boxes(np.zeros((1, 2)), np.ones((1, 4)), np.array([np.pi / 4]))
    octagon = 8 * (np.sqrt(2) - 1)
    iou = Quads(square).iou(np.array([0]), Quads(turned), 0)
    assert iou == pytest.approx(octagon / (8 - octagon))


def test_a_flat_box_overlaps_nothing():
    flat = Quads(boxes((0, 0, 4, 0), (2, 2, 2, 2)))
    assert flat.iou(np.array([0, 1]), flat, 0).tolist() == [0, 0]


def test_boxes_of_one_thing_become_their_mean_by_score():
    corners, scores, extra = merged(boxes((0, 0, 10, 10), (0, 0, 12, 10), (40, 0, 50, 10)), [0.6, 0.9, 0.8])
    assert corners.tolist() == boxes((0, 0, 11.2, 10)).tolist()
    assert scores.tolist() == [0.9]
    assert extra[:, 0] == pytest.approx([(0.6 * 0 + 0.9 * 1) / 1.5])


def test_a_box_without_neighbours_is_dropped_and_takes_what_it_suppressed_along():
    # The first overlaps the others by 0.25, they overlap each other wholly.
    overlapping = boxes((0, 0, 10, 10), (6, 0, 16, 10), (6, 0, 16, 10))
    assert len(merged(overlapping, [0.9, 0.8, 0.7])[0]) == 0
    assert len(merged(overlapping, [0.7, 0.8, 0.9])[0]) == 1
    assert len(merged(overlapping, [0.9, 0.8, 0.7], threshold=0.3)[0]) == 1


@pytest.mark.parametrize(("shift", "left"), [(10 * 0.48 / 1.52, 1), (10 * 0.52 / 1.48, 0)])
def test_boxes_are_neighbours_if_they_share_more_than_half(shift, left):
    assert len(merged(boxes((0, 0, 10, 10), (shift, 0, 10 + shift, 10)), [0.9, 0.8])[0]) == left


def test_items_go_where_they_overlap_most():
    owners = boxes((0, 0, 10, 10), (8, 0, 20, 10))
    items = boxes((1, 1, 9, 9), (9, 1, 13, 9), (40, 40, 44, 44))
    assert assign(items, owners).tolist() == [0, 1, -1]
    assert assign(items, owners[:0]).tolist() == [-1, -1, -1]
    assert assign(items[:0], owners).tolist() == []
