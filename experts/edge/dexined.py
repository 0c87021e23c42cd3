"""The backend `dexined`: DexiNed (arXiv 1909.01955), with the weights of epoch 10 on BIPED."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from kornia.models.dexined import DexiNed
from PIL import Image
from torch import Tensor

from common.pickles import read_torch
from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.dense import IMAGENET_MEAN, DenseExpert, channels
from experts.finite import check_finite
from experts.weight_loading import load_weights, state_dict

FILE = "10_model.pth"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Dexined":
    """The expert with the released weights, whose keys are kornia's."""
    path = setting.weights / FILE
    state = state_dict(read_torch(path), path)
    with torch.device("meta"):
        network = DexiNed(pretrained=False)
    load_weights(network, state, path)
    return Dexined(network, setting)


class Dexined(DenseExpert):
    """Edge logits (480, 480)."""

    modality = "edge"

    def forward(self, images: Tensor) -> Tensor:
        # Trained on images as OpenCV reads them: BGR, 0..255.
        return self.network((images - channels(IMAGENET_MEAN, images)).flip(1) * 255)[:, 0]

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return edge_label(raw, size)


def edge_label(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Logits (h, w) -> bytes of another size, the strongest edge 0, the weakest 255.

    A flat map, which says nothing, gives zeros.

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
