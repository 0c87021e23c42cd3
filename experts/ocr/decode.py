"""From CharNet's maps to words: cells, the boxes that they form, and the text in each box."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experts.finite import check_finite
from experts.ocr.network import STRIDE, Heads
from experts.ocr.quads import assign, merge, rotated_boxes

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#\"%$'&)(+*-,/.;:=<?>@[]\\_^`{}|~"  # by class
WORD_SCORE = 0.5  # of the cells of a word
CHAR_SCORE = 0.25
WORD_IOU = 0.15  # of two boxes that overlap more, one is dropped
CHAR_IOU = 0.3


@dataclass(frozen=True)
class Cells:
    """The cells of an image's maps that hold text, float32.

    Attributes:
        side: height and width of the network's input, in pixels.
        words: x, y, score, tblr and angle, (n, 8).
        chars: x, y, score, tblr and the probability of each class, (m, 75).
    """

    side: tuple[int, int]
    words: np.ndarray
    chars: np.ndarray


class ReadWord(NamedTuple):
    """A word that was read.

    Attributes:
        text: in capitals.
        corners: x and y in pixels of the image, int64 (4, 2).
        box_score: probability of the box.
        text_score: mean probability of the letters.
    """

    text: str
    corners: np.ndarray
    box_score: float
    text_score: float


def select_cells(heads: Heads) -> list[Cells]:
    """Selects the cells of each image that hold text, so that little data leaves the device.

    Raises:
        NotFinite: a value of a map is NaN or infinite.
    """
    check_finite(heads)
    word_fg = heads.word_fg.float().softmax(1)[:, 1]  # (b, h, w)
    char_fg = heads.char_fg.float().softmax(1)[:, 1]
    side = (word_fg.shape[1] * STRIDE, word_fg.shape[2] * STRIDE)
    is_word = word_fg > WORD_SCORE
    is_char = is_word & (char_fg > CHAR_SCORE)
    cells = []
    for index in range(len(word_fg)):
        words, chars = is_word[index].nonzero(as_tuple=True), is_char[index].nonzero(as_tuple=True)
        angles = _at(heads.word_orientation[index], words)
        classes = _at(heads.char_class[index], chars).softmax(1)
        word_table = _table(words, word_fg[index], heads.word_tblr[index], angles)
        cells.append(Cells(side, word_table, _table(chars, char_fg[index], heads.char_tblr[index], classes)))
    return cells


def _at(maps: Tensor, cells: tuple[Tensor, Tensor]) -> Tensor:
    """(c, h, w) -> (n, c)."""
    return maps[:, *cells].T.float()


def _table(cells: tuple[Tensor, Tensor], score: Tensor, tblr: Tensor, rest: Tensor) -> np.ndarray:
    rows, columns = cells
    values = [columns[:, None], rows[:, None], score[cells][:, None], _at(tblr, cells), rest]
    return torch.cat(values, dim=1).cpu().numpy()


def read_words(cells: Cells, size: tuple[int, int]) -> list[ReadWord]:
    """Reads the words of an image of height and width `size`, the surest box first.

    Raises:
        NotFinite: a value of a cell is NaN or infinite.
    """
    check_finite(cells)
    height, width = size
    x, y = STRIDE * width / cells.side[1], STRIDE * height / cells.side[0]  # pixels of the image to a cell
    words, chars = cells.words.astype(np.float64), cells.chars.astype(np.float64)
    # The angle is that in the image, so boxes are scaled before they are turned.
    word_boxes = rotated_boxes(words[:, :2] * [x, y], words[:, 3:7] * [y, y, x, x], words[:, 7])
    char_boxes = rotated_boxes(chars[:, :2] * [x, y], chars[:, 3:7] * [y, y, x, x])
    word_boxes, word_scores, _ = merge(word_boxes, words[:, 2], WORD_IOU, words[:, :0])
    char_boxes, _, classes = merge(char_boxes, chars[:, 2], CHAR_IOU, chars[:, 7:])
    word_boxes, char_boxes = (_to_pixels(boxes, size) for boxes in (word_boxes, char_boxes))
    owners = assign(char_boxes, word_boxes)
    centres = char_boxes[..., 0].mean(1)
    found = []
    for index, (corners, score) in enumerate(zip(word_boxes, word_scores, strict=True)):
        own = np.flatnonzero(owners == index)
        if len(own):
            spelled = classes[own[np.argsort(centres[own], kind="stable")]]  # (letters, 68)
            text = "".join(CHARACTERS[letter] for letter in spelled.argmax(1))
            found.append(ReadWord(text, corners, float(score), float(spelled.max(1).mean())))
    return found


def _to_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    return np.clip(np.rint(boxes), 0, [width - 1, height - 1]).astype(np.int64)
