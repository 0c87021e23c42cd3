"""The backend `nll_angmf`: surface normals (arXiv 2109.09881), with the weights trained on ScanNet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.pickles import read_torch
from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.dense import IMAGENET_MEAN, IMAGENET_STD, DenseExpert, channels, resize, to_bytes
from experts.finite import check_finite
from experts.normal.network import NormalNetwork
from experts.weight_loading import load_weights, state_dict

FILE = "scannet.pt"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "NllAngMF":
    """The expert with the released weights."""
    path = setting.weights / FILE
    state = state_dict(read_torch(path), path, "model")
    with torch.device("meta"):
        network = NormalNetwork()
    load_weights(network, state, path)
    return NllAngMF(network, setting)


class NllAngMF(DenseExpert):
    """Unit normals (3, 480, 480)."""

    modality = "normal"

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (channels(values, images) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return self.network((images - mean) / std)

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return normal_label(raw, size)


def normal_label(normal: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Vectors (3, h, w) -> bytes (*size, 3), -1..1 as 0..255.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    check_finite(normal)
    return to_bytes(resize(((normal + 1) / 2).clip(0, 1), size)).transpose(1, 2, 0)
