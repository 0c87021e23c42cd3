"""CharNet's maps drawn by hand, as those were of which the original's words are known."""

from collections.abc import Sequence

import numpy as np
import torch

from experts.ocr.decode import CHARACTERS
from experts.ocr.network import Heads

SIDE = 120  # cells


def draw(words: Sequence[Sequence]) -> Heads:
    """Maps of one image.

    Args:
        words: each text, left, top (in cells), probability of its letters and, if not as usual, score and
            angle.
    """
    word_fg, char_fg = np.full((SIDE, SIDE), 0.01), np.full((SIDE, SIDE), 0.01)
    classes = np.full((len(CHARACTERS), SIDE, SIDE), 0.001)
    word_tblr, char_tblr = np.zeros((4, SIDE, SIDE)), np.zeros((4, SIDE, SIDE))
    angles = np.zeros((1, SIDE, SIDE))
    for text, left, top, sure, *rest in words:
        score, angle = rest or (0.9, 0.0)
        right, bottom = left + 6 * len(text), top + 8
        y, x = np.mgrid[top + 2 : bottom - 1, left + 2 : right - 1]
        word_fg[y, x] = score - 0.001 * abs(x - (left + right) / 2)
        word_tblr[:, y, x] = y - top, bottom - y, x - left, right - x
        angles[:, y, x] = angle
        for edge, letter in zip(range(left, right, 6), text.upper(), strict=True):
            y, x = np.mgrid[top + 3 : bottom - 2, edge + 2 : edge + 4]
            char_fg[y, x] = 0.8
            char_tblr[:, y, x] = y - top, bottom - y, x - edge, edge + 6 - x
            classes[:, y, x] = (1 - sure) / (len(CHARACTERS) - 1)
            classes[CHARACTERS.index(letter), y, x] = sure
    return Heads(
        word_fg=_tensor(np.log([1 - word_fg, word_fg])),
        word_tblr=_tensor(word_tblr),
        word_orientation=_tensor(angles),
        char_fg=_tensor(np.log([1 - char_fg, char_fg])),
        char_tblr=_tensor(char_tblr),
        char_class=_tensor(np.log(classes)),
    )


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()[None]
