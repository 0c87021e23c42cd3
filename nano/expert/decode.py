"""From the network's maps to labels, for one image. Values that are not finite raise `NotFinite`."""

import numpy as np
from PIL import Image

from dataset.label_files import Word
from experts.base import Label
from experts.finite import check_finite
from model.modalities import BACKGROUND

CENTRE_THRESHOLD = 0.25
MINIMAL_CELLS = 4  # smaller instances are noise
MINIMAL_TEXT = 12  # cells


def stretch(values: np.ndarray) -> np.ndarray:
    """Scales a map to bytes, its minimum to 0 and its maximum to 255; a constant map gives zeros."""
    check_finite(values)
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def depth_label(depth: np.ndarray, size: tuple[int, int]) -> Label:
    """(h, w) inverse depth -> bytes; near is bright."""
    return Label(stretch(_resize(depth.astype(np.float32), size, Image.Resampling.BILINEAR)))


def normal_label(normal: np.ndarray, size: tuple[int, int]) -> Label:
    """(3, h, w) vectors of any length -> unit vectors as bytes (h, w, 3)."""
    check_finite(normal)
    planes = [_resize(plane.astype(np.float32), size, Image.Resampling.BILINEAR) for plane in normal]
    vectors = np.stack(planes, axis=-1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-10
    return Label(np.clip((vectors + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8))


def edge_label(strength: np.ndarray, size: tuple[int, int]) -> Label:
    """(h, w) strength -> bytes; strong edges are dark."""
    return Label(255 - stretch(_resize(strength.astype(np.float32), size, Image.Resampling.BILINEAR)))


def semantic_label(classes: np.ndarray, size: tuple[int, int]) -> Label:
    """(h, w) class indices -> the same at another size."""
    check_finite(classes)
    return Label(_resize(classes.astype(np.uint8), size, Image.Resampling.NEAREST))


def instance_label(logits: np.ndarray, centre: np.ndarray, offset: np.ndarray, size: tuple[int, int]) -> Label:
    """Groups the cells of objects around centres (Panoptic-DeepLab, arXiv 1911.10194).

    Args:
        logits: (classes + 1, h, w); the last class is background.
        centre: (h, w) probability of an instance's centre.
        offset: (2, h, w) from each cell to the centre of its instance, x and y, in cells.
        size: of the label.
    """
    check_finite(logits, centre, offset)
    ids = np.full(centre.shape, BACKGROUND, np.uint8)
    instances: dict[int, int] = {}
    centres = find_centres(centre)
    rows, columns = np.nonzero(logits.argmax(0) != len(logits) - 1)
    if len(centres) and len(rows):
        points = np.stack([columns + offset[0, rows, columns], rows + offset[1, rows, columns]], axis=1)
        distance = ((points[:, None] - centres) ** 2).sum(-1)  # (cells, centres)
        nearest = distance.argmin(1)
        for index in range(len(centres)):
            own_rows, own_columns = rows[nearest == index], columns[nearest == index]
            if len(own_rows) >= MINIMAL_CELLS:
                key = len(instances)
                ids[own_rows, own_columns] = key
                instances[key] = int(logits[:-1, own_rows, own_columns].mean(1).argmax())
    return Label(_resize(ids, size, Image.Resampling.NEAREST), instances=instances)


def find_centres(centre: np.ndarray) -> np.ndarray:
    """Local maxima over 5 x 5 cells above the threshold: (n, 2) x and y, the best first, at most 64."""
    padded = np.pad(centre, 2, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))  # (h, w, 5, 5)
    rows, columns = np.nonzero((centre == windows.max((2, 3))) & (centre > CENTRE_THRESHOLD))
    best = np.argsort(-centre[rows, columns], kind="stable")[:64]
    return np.stack([columns[best], rows[best]], axis=1)


def text_box(text: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box around a word.

    Args:
        text: (h, w) probability that a cell is part of a word.

    Returns:
        Left, top, right, bottom in cells; None if there is no word.
    """
    rows, columns = np.nonzero(text > 0.5)
    if len(rows) < MINIMAL_TEXT:
        return None
    left, right = np.quantile(columns, [0.01, 0.99])  # without stray cells
    top, bottom = np.quantile(rows, [0.01, 0.99])
    return float(left), float(top), float(right) + 1, float(bottom) + 1


def words_label(text: np.ndarray, word: Word | None, size: tuple[int, int]) -> Label:
    """(h, w) probability of text, and the word that was read or None -> a label of one word or none."""
    if word is None:
        return Label(None)
    check_finite(text, word)
    strength = _resize(text.astype(np.float32), size, Image.Resampling.BILINEAR)
    return Label(np.where(strength > 0.5, 0, BACKGROUND).astype(np.uint8), words={0: word})


def _resize(values: np.ndarray, size: tuple[int, int], resampling: Image.Resampling) -> np.ndarray:
    height, width = size
    return np.array(Image.fromarray(values).resize((width, height), resampling))
