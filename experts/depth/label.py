"""The label of a depth map, whichever network made it."""

import numpy as np
from torch import Tensor

from experts.dense import resize, to_bytes
from experts.finite import check_finite


def depth_label(depth: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Inverse depth (h, w) -> bytes of height and width `size`: the nearest point 255, the farthest 0.

    A flat map gives zeros.

    Raises:
        NotFinite: a value is NaN or infinite, or their range is.
    """
    low, high = depth.aminmax()  # NaN if any value is
    check_finite(low, high, high - low)
    if low == high:
        return np.zeros(size, np.uint8)
    return to_bytes(resize(((depth - low) / (high - low))[None], size)[0])
