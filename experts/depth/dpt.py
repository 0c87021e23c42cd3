"""The backend `dpt`: DPT-Hybrid of MiDaS 3 (arXiv 2103.13413), with its released weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import DPTConfig, DPTForDepthEstimation

from common.pickles import read_torch
from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.dense import SIDE, DenseExpert
from experts.depth.dpt_weights import converted
from experts.depth.label import depth_label
from experts.weight_loading import load_weights, state_dict

FILE = "dpt_hybrid-midas-501f0c75.pt"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Dpt":
    """The expert with the released weights."""
    path = setting.weights / FILE
    state = converted(state_dict(read_torch(path), path), grid=SIDE // 16)
    network = build_network()
    load_weights(network, state, path)
    return Dpt(network, setting)


def build_network() -> DPTForDepthEstimation:
    """The network of the released weights, without memory."""
    config = DPTConfig(
        is_hybrid=True,
        image_size=SIDE,
        neck_hidden_sizes=[256, 512, 768, 768],
        reassemble_factors=[1, 1, 1, 0.5],
        backbone_out_indices=[2, 5, 8, 11],
        readout_type="project",
        layer_norm_eps=1e-6,
    )
    with torch.device("meta"):
        return DPTForDepthEstimation(config)


class Dpt(DenseExpert):
    """Inverse depth (480, 480)."""

    modality = "depth"

    def forward(self, images: Tensor) -> Tensor:
        return self.network(2 * images - 1).predicted_depth

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return depth_label(raw, size)
