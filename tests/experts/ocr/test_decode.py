"""From maps to words, and from words to their label."""

import math
import time

import numpy as np
import pytest
import torch

from experts.ocr.decode import CHARACTERS, Cells, read_words, select_cells
from experts.ocr.label import words_label
from experts.ocr.network import Heads
from experts.ocr.quads import Quads, assign, merge
from model.modalities import BACKGROUND
from tests.parity.drawn_heads import draw

SIZE = (480, 480)


def read(*words: tuple, size: tuple[int, int] = SIZE) -> list[str]:
    return [word.text for word in read_words(select_cells(draw(words))[0], size)]


def test_every_character_can_be_read():
    assert len(set(CHARACTERS)) == 68
    assert (CHARACTERS[0], CHARACTERS[26], CHARACTERS[36], CHARACTERS[67]) == ("A", "0", "!", "~")
    lines = [CHARACTERS[start : start + 17] for start in range(0, 68, 17)]
    assert read(*((line, 4, 4 + 20 * row, 0.9) for row, line in enumerate(lines))) == lines


def test_the_surest_box_comes_first():
    assert read(("low", 4, 4, 0.9, 0.7, 0), ("high", 4, 60, 0.9, 0.9, 0)) == ["HIGH", "LOW"]


def test_images_of_a_batch_are_read_apart():
    heads = Heads(*(torch.cat(maps) for maps in zip(draw([("one", 9, 9, 0.9)]), draw([]), strict=True)))
    one, none = select_cells(heads)
    assert [word.text for word in read_words(one, SIZE)] == ["ONE"]
    assert read_words(none, SIZE) == []


@pytest.mark.parametrize(
    ("word", "letter", "words", "letters"),
    [(0.51, 0.26, True, True), (0.49, 0.9, False, False), (0.9, 0.24, True, False)],
)
def test_cells_of_words_and_letters_have_their_thresholds(word, letter, words, letters):
    heads = draw([])
    for maps, probability in ((heads.word_fg, word), (heads.char_fg, letter)):
        maps[:, 0], maps[:, 1] = 0, math.log(probability / (1 - probability))
    (cells,) = select_cells(heads)
    assert (len(cells.words) > 0, len(cells.chars) > 0) == (words, letters)


def cells_of(words: list[tuple[float, float, float]], letters: list[tuple[str, float, float]]) -> Cells:
    """Words by left edge, width and score, letters by left edge and width; each is two cells that agree."""
    word_rows = [[left, 5, score, 5, 5, 0, width, 0] for left, width, score in words for _ in range(2)]
    letter_rows = [
        [left, 5, 0.9 - index / 10, 4, 4, 0, width, *(float(each == text) for each in CHARACTERS)]
        for index, (text, left, width) in enumerate(letters)
        for _ in range(2)
    ]
    return Cells(SIZE, np.array(word_rows, np.float32), np.array(letter_rows, np.float32))


def apart(width: float, iou: float) -> float:
    """How far two boxes of a width are from each other that overlap so much."""
    return width * (1 - iou) / (1 + iou)


@pytest.mark.parametrize(("iou", "texts"), [(0.14, ["A", "B"]), (0.17, ["A"])])
def test_of_words_that_overlap_more_than_a_little_one_is_kept(iou, texts):
    words = [(0, 40, 0.9), (apart(40, iou), 40, 0.8)]
    found = read_words(cells_of(words, [("A", 2, 6), ("B", 60, 6)]), SIZE)
    assert [word.text for word in found] == texts


@pytest.mark.parametrize(("iou", "text"), [(0.28, "AB"), (0.32, "A")])
def test_of_letters_that_overlap_too_much_one_is_kept(iou, text):
    (word,) = read_words(cells_of([(0, 60, 0.9)], [("A", 2, 20), ("B", 2 + apart(20, iou), 20)]), SIZE)
    assert word.text == text


def test_corners_stay_in_the_image():
    heads = draw([("stop", 1, 1, 0.9)])
    heads.word_tblr[:] *= 60
    (word,) = read_words(select_cells(heads)[0], (90, 160))
    assert word.corners.tolist() == [[0, 0], [159, 0], [159, 89], [0, 89]]


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (7, 3)])
def test_tiny_images_are_read_without_complaint(size):
    words = read_words(select_cells(draw([("stop", 10, 10, 0.9), ("exit", 40, 60, 0.9, 0.9, 0.3)]))[0], size)
    for word in words:
        assert (word.corners >= 0).all()
        assert (word.corners < [size[1], size[0]]).all()


def dense_page(words: int = 300, cells: int = 10) -> Cells:
    """A page of words of five letters, all letters wherever a word's cells are, with boxes a little off."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(words):
        left, top = 6.0 * (index % 20), 8.0 * (index // 20)
        for x, y in rng.uniform([left, top], [left + 5.5, top + 6], (cells, 2)):
            rows.append([x, y, rng.uniform(0.5, 1), y - top, top + 6 - y, x - left, left + 5.5 - x])
    table = np.array(rows, np.float32)
    angles = rng.normal(0.1, 0.01, (len(table), 1)).astype(np.float32)
    classes = np.full((len(table), 68), 1 / 68, np.float32)
    letters = table.copy()
    width = 5.5 / 5
    letters[:, 5] = (table[:, 5] % width).clip(0.01)
    letters[:, 6] = width - letters[:, 5]
    return Cells((480, 480), np.concatenate([table, angles], 1), np.concatenate([letters, classes], 1))


def test_a_dense_page_takes_no_time():
    page = dense_page()
    assert len(page.words) == len(page.chars) == 3000
    start = time.process_time()
    words = read_words(page, (1200, 1600))
    assert time.process_time() - start < 3  # 0.3 s; a comparison of all with all takes minutes
    assert len(words) > 250


def boxes(*bounds: tuple[float, float, float, float]) -> np.ndarray:
    """Left, top, right, bottom -> corners."""
    return np.array([[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in bounds], float)


def merged(corners: np.ndarray, scores: list[float], threshold: float = 0.15) -> tuple[np.ndarray, ...]:
    return merge(corners, np.array(scores), threshold, np.arange(len(scores), dtype=float)[:, None])


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


def test_items_go_where_they_overlap_most():
    owners = boxes((0, 0, 10, 10), (8, 0, 20, 10))
    items = boxes((1, 1, 9, 9), (9, 1, 13, 9), (40, 40, 44, 44))
    assert assign(items, owners).tolist() == [0, 1, -1]
    assert assign(items, owners[:0]).tolist() == [-1, -1, -1]
    assert assign(items[:0], owners).tolist() == []


def embed(texts: list[str]) -> np.ndarray:
    return np.array([[len(text)] * 64 for text in texts], np.float32)


def square(left: int, top: int, side: float = 3) -> np.ndarray:
    return np.array([left, top]) + np.array([[0, 0], [side, 0], [side, side], [0, side]])


def test_the_first_word_lies_on_top_and_has_the_last_id():
    assert words_label([], embed, (4, 4)).map is None
    label = words_label([("top", square(2, 2)), ("below", square(0, 0, side=3.9))], embed, (8, 9))
    assert label.map.shape == (8, 9)
    assert [label.map[0, 0], label.map[3, 3], label.map[7, 8]] == [0, 1, BACKGROUND]
    assert label.map[0, 4] == BACKGROUND  # corners are truncated, and edges painted
    assert {key: (word.text, word.features[0]) for key, word in label.words.items()} == {
        0: ("below", 5),
        1: ("top", 3),
    }


def test_of_more_words_than_ids_the_first_are_kept():
    words = [(f"word{index}", square(index, 0)) for index in range(300)]
    label = words_label(words, embed, (4, 304))
    assert len(label.words) == 255
    assert label.words[254].text == "word0"
    assert label.words[0].text == "word254"
    assert label.map[0, 299] == BACKGROUND
