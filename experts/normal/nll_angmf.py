"""The backend `nll_angmf`: surface normals (arXiv 2109.09881), with the weights trained on ScanNet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.batches import normalise
from experts.dense import DenseExpert, resize, to_bytes
from experts.finite import check_finite
from experts.normal.network import NormalNetwork
from experts.weight_loading import released_network

FILE = "scannet.pt"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "NllAngMF":
    """The expert with the released weights."""
    return NllAngMF(released_network(setting.weights / FILE, NormalNetwork), setting)


def normal_label(normal: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Vectors (3, h, w) -> bytes (*size, 3), -1..1 as 0..255.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    check_finite(normal)
    return to_bytes(resize(((normal + 1) / 2).clip(0, 1), size)).transpose(1, 2, 0)


class NllAngMF(DenseExpert):
    """Predicts unit normals (3, 480, 480)."""

    modality = "normal"
    label = staticmethod(normal_label)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(normalise(images))
