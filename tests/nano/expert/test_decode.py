"""From maps drawn by hand to labels."""

import numpy as np
import pytest

from dataset.label_files import Word
from model.modalities import BACKGROUND
from nano.expert import decode


def test_depth_is_stretched_and_flat_maps_are_zero():
    label = decode.depth_label(np.array([[1.0, 2.0], [3.0, 5.0]]), (2, 2)).map
    assert label.tolist() == [[0, 64], [128, 255]]
    assert label.dtype == np.uint8
    assert decode.depth_label(np.full((4, 4), 3.0), (6, 5)).map.max() == 0
    assert decode.depth_label(np.zeros((4, 4)), (6, 5)).map.shape == (6, 5)


def test_edges_are_dark():
    assert decode.edge_label(np.array([[0.1, 0.9]]), (1, 2)).map.tolist() == [[255, 0]]


def test_normals_become_unit_vectors():
    normal = np.zeros((3, 4, 4))
    normal[2] = 7.0
    label = decode.normal_label(normal, (8, 6)).map
    assert label.shape == (8, 6, 3)
    assert np.unique(label.reshape(-1, 3), axis=0).tolist() == [[128, 128, 255]]
    normal = np.array([-0.6, 0.0, 0.8])[:, None, None].repeat(4, 1).repeat(4, 2) / 3
    assert decode.normal_label(normal, (1, 1)).map.tolist() == [[[51, 128, 230]]]


def test_classes_are_enlarged_without_mixing():
    label = decode.semantic_label(np.array([[0, 6]]), (4, 8)).map
    assert np.unique(label).tolist() == [0, 6]
    assert label[0].tolist() == [0] * 4 + [6] * 4


def _things(*boxes: tuple[int, int, int, int, int], side: int = 20) -> tuple[np.ndarray, ...]:
    """Heads for boxes (class, left, top, right, bottom) of three classes."""
    logits = np.zeros((4, side, side))
    logits[3] = 1
    centre, offset = np.zeros((side, side)), np.zeros((2, side, side))
    y, x = np.mgrid[:side, :side]
    for index, left, top, right, bottom in boxes:
        box = (slice(top, bottom), slice(left, right))
        logits[(slice(None), *box)] = 0
        logits[(index, *box)] = 2
        middle_x, middle_y = (left + right - 1) / 2, (top + bottom - 1) / 2
        centre[round(middle_y), round(middle_x)] = 0.5 + index / 10
        offset[(0, *box)], offset[(1, *box)] = middle_x - x[box], middle_y - y[box]
    return logits, centre, offset


def test_touching_objects_of_one_class_are_two_instances():
    label = decode.instance_label(*_things((1, 2, 2, 8, 12), (1, 8, 2, 14, 12)), (20, 20))
    assert label.instances == {0: 1, 1: 1}
    assert (label.map == BACKGROUND).sum() == 400 - 120
    for columns in (slice(2, 8), slice(8, 14)):
        assert len(np.unique(label.map[2:12, columns])) == 1
    assert label.map[5, 7] != label.map[5, 8]


def test_the_class_of_an_instance_is_the_likeliest_on_average():
    logits, centre, offset = _things((2, 4, 4, 12, 12))
    logits[:, 4, 4:12] = np.array([0, 2, 0, 0])[:, None]  # one row looks like class 1
    label = decode.instance_label(logits, centre, offset, (40, 40))
    assert label.instances == {0: 2}
    assert (label.map == 0).sum() == 4 * 64


def test_specks_and_empty_scenes_give_no_instance():
    label = decode.instance_label(*_things((0, 3, 3, 6, 4), (2, 10, 10, 14, 11)), (20, 20))
    assert label.instances == {0: 2}  # three cells are a speck, four are not
    assert np.argwhere(label.map == 0).tolist() == [[10, column] for column in range(10, 14)]
    assert (label.map == BACKGROUND).sum() == 396
    logits, centre, offset = _things((1, 2, 2, 8, 12))
    for heads in (_things(), (logits, 0 * centre, offset)):  # nothing, and an object without a centre
        label = decode.instance_label(*heads, (5, 7))
        assert label.instances == {}
        assert label.map.shape == (5, 7)


def test_centres_are_maxima_best_first():
    centre = np.zeros((12, 12))
    centre[2, 3], centre[2, 4] = 0.6, 0.5  # neighbours: one centre
    centre[9, 9] = 0.9
    centre[9, 7], centre[7, 11] = 0.8, 0.8  # two cells from a better one
    centre[6, 8] = 0.3  # three cells from it
    centre[6, 0] = 0.25  # not above the threshold
    assert decode.find_centres(centre).tolist() == [[9, 9], [3, 2], [8, 6]]
    many = np.zeros((27, 27))
    many[::3, ::3] = 0.3 + np.arange(81).reshape(9, 9) / 200
    assert decode.find_centres(many).tolist() == [[3 * (index % 9), 3 * (index // 9)] for index in range(80, 16, -1)]


def test_text_box_goes_round_the_word_but_not_a_stray_cell():
    text = np.zeros((40, 40))
    text[10:20, 5:30] = 0.9
    assert decode.text_box(text) == (5, 10, 30, 20)
    text[39, 39] = 0.9
    assert decode.text_box(text) == (5, 10, 30, 20)
    text[:] = 0
    text[3, 4:15] = 0.9
    assert decode.text_box(text) is None  # eleven cells are no word
    text[3, 15:21] = 0.5, 0.9, 0.5, 0.5, 0.5, 0.5
    assert decode.text_box(text) == pytest.approx((4.11, 3, 16.78, 4))


def test_words_label():
    text = np.zeros((10, 10))
    text[2:4, 2:8] = 1
    text[6, 6] = 0.5
    word = Word("exit", np.zeros(64, np.float32))
    label = decode.words_label(text, word, (10, 10))
    assert label.words == {0: word}
    assert np.array_equal(label.map, np.where(text == 1, 0, BACKGROUND))
    assert decode.words_label(text, None, (10, 10)).map is None
