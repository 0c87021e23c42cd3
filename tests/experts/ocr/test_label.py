"""Words painted as ids."""

import numpy as np

from experts.ocr.label import words_label
from model.modalities import BACKGROUND


def embed(texts: list[str]) -> np.ndarray:
    return np.array([[len(text)] * 64 for text in texts], np.float32)


def square(left: int, top: int, side: float = 3) -> np.ndarray:
    return np.array([left, top]) + np.array([[0, 0], [side, 0], [side, side], [0, side]])


def test_no_words_are_no_label():
    assert words_label([], embed, (4, 4)).map is None


def test_the_first_word_lies_on_top_and_has_the_last_id():
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
