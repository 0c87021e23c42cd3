"""A text label: the words of an image painted as ids."""

from collections.abc import Sequence

import cv2
import numpy as np

from dataset.words import Word
from experts.base import Label
from model.modalities import BACKGROUND


def words_label(words: Sequence[tuple[Word, np.ndarray]], size: tuple[int, int]) -> Label:
    """Paints words, the last one first, so that the first lies on top.

    Args:
        words: each with its corners, x and y in pixels (4, 2), the surest first; those for which a byte has
            no id are left out.
        size: height and width of the image.
    """
    if not words:
        return Label(None)
    ids = np.full(size, BACKGROUND, np.uint8)
    painted = {}
    for number, (word, corners) in enumerate(reversed(words[:BACKGROUND])):
        cv2.fillPoly(ids, [corners.astype(np.int32)], number)
        painted[number] = word
    return Label(ids, words=painted)
