"""A label of words: their ids painted into a map, and their embeddings."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dataset.label_files import Word
from experts.base import Label
from experts.finite import check_finite
from model.modalities import BACKGROUND


def words_label(
    words: Sequence[tuple[str, np.ndarray]],
    embed: Callable[[Sequence[str]], np.ndarray],
    size: tuple[int, int],
) -> Label:
    """Paints words, the surest one last, so that it lies on top.

    Args:
        words: the text of each and its corners, x and y in pixels (4, 2), the surest first. The first 255 are
            used.
        embed: texts -> their features, float32 (n, 64).
        size: height and width of the image.

    Raises:
        NotFinite: a corner or a feature is NaN or infinite.
    """
    words = list(reversed(words[:BACKGROUND]))
    if not words:
        return Label(None)
    texts = [text for text, _ in words]
    features = embed(texts)
    check_finite(words, features)
    ids = np.full(size, BACKGROUND, np.uint8)
    for number, (_, corners) in enumerate(words):
        cv2.fillPoly(ids, [corners.astype(np.int32)], number)
    painted = {number: Word(*word) for number, word in enumerate(zip(texts, features, strict=True))}
    return Label(ids, words=painted)
