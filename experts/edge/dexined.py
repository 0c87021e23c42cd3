"""The backend `dexined`: DexiNed (arXiv 1909.01955), with the weights of epoch 10 on BIPED."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from kornia.models.dexined import DexiNed
from PIL import Image
from torch import Tensor

from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.batches import IMAGENET_MEAN, normalise
from experts.dense import DenseExpert
from experts.finite import check_finite
from experts.weight_loading import released_network

FILE = "10_model.pth"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Dexined":
    """The expert with the released weights, which have kornia's keys."""
    return Dexined(released_network(setting.weights / FILE, partial(DexiNed, pretrained=False)), setting)


def edge_label(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Logits (h, w) -> bytes of height and width `size`: the strongest edge 0, the weakest 255.

    A flat map gives zeros.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    check_finite(logits)
    strength = logits.sigmoid()
    low, high = strength.aminmax()
    if low == high:
        return np.zeros(size, np.uint8)
    stretched = ((strength - low) * 255 / (high - low + 1e-12)).byte()
    dark = Image.fromarray((255 - stretched).numpy())
    return np.asarray(dark.resize(size[::-1], Image.Resampling.BILINEAR))


class Dexined(DenseExpert):
    """Predicts edge logits (480, 480)."""

    modality = "edge"
    label = staticmethod(edge_label)

    def forward(self, images: Tensor) -> Tensor:
        # The network was trained on images as OpenCV reads them: BGR, 0..255.
        return self.network(normalise(images, IMAGENET_MEAN, (1, 1, 1)).flip(1) * 255)[:, 0]
