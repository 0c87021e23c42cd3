"""The backend `dpt`: DPT-Hybrid of MiDaS 3 (arXiv 2103.13413), with its released weights.

The network is `DPTForDepthEstimation` of transformers, so the released weights get its names.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DPTConfig, DPTForDepthEstimation

from experts.base import NoOptions as Options
from experts.base import RuntimeConfig
from experts.dense import SIDE, DenseExpert
from experts.depth.label import depth_label
from experts.weight_loading import Rules, released_network, renamed

FILE = "dpt_hybrid-midas-501f0c75.pt"
_TRAINED_GRID = 24  # patches along a side of the images of the pre-training, 384 pixels
_POSITIONS = "dpt.embeddings.position_embeddings"
_BIT = "dpt.embeddings.backbone.bit"
_LAYER = r"dpt.encoder.layer.\1"
_NECK = "neck.reassemble_stage"
_RULES: Rules = {
    r"pretrained\.model\.head": (),  # the classifier of the pre-training
    r"pretrained\.model\.cls_token": "dpt.embeddings.cls_token",
    r"pretrained\.model\.pos_embed": _POSITIONS,
    r"pretrained\.model\.patch_embed\.backbone\.stem\.conv": f"{_BIT}.embedder.convolution",
    r"pretrained\.model\.patch_embed\.backbone\.stem\.norm": f"{_BIT}.embedder.norm",
    r"pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.blocks": rf"{_BIT}.encoder.stages.\1.layers",
    r"pretrained\.model\.patch_embed\.proj": "dpt.embeddings.projection",
    r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv": tuple(
        f"{_LAYER}.attention.attention.{name}" for name in ("query", "key", "value")
    ),
    r"pretrained\.model\.blocks\.(\d+)\.attn\.proj": f"{_LAYER}.attention.output.dense",
    r"pretrained\.model\.blocks\.(\d+)\.norm1": f"{_LAYER}.layernorm_before",
    r"pretrained\.model\.blocks\.(\d+)\.norm2": f"{_LAYER}.layernorm_after",
    r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc1": f"{_LAYER}.intermediate.dense",
    r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc2": f"{_LAYER}.output.dense",
    r"pretrained\.model\.norm": "dpt.layernorm",
    r"pretrained\.act_postprocess(\d)\.0\.project\.0": lambda m: f"{_NECK}.readout_projects.{int(m[1]) - 1}.0",
    r"pretrained\.act_postprocess(\d)\.3": lambda m: f"{_NECK}.layers.{int(m[1]) - 1}.projection",
    r"pretrained\.act_postprocess(\d)\.4": lambda m: f"{_NECK}.layers.{int(m[1]) - 1}.resize",
    r"scratch\.layer(\d)_rn": lambda m: f"neck.convs.{int(m[1]) - 1}",
    r"scratch\.refinenet(\d)\.out_conv": lambda m: f"neck.fusion_stage.layers.{4 - int(m[1])}.projection",
    r"scratch\.refinenet(\d)\.resConfUnit(\d)\.conv(\d)": lambda m: (
        f"neck.fusion_stage.layers.{4 - int(m[1])}.residual_layer{m[2]}.convolution{m[3]}"
    ),
    r"scratch\.output_conv": "head.head",
}


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released file."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Dpt":
    """The expert with the released weights."""
    return Dpt(released_network(setting.weights / FILE, build_network, converted), setting)


def build_network() -> DPTForDepthEstimation:
    """The network of the released weights."""
    config = DPTConfig(
        is_hybrid=True,
        image_size=SIDE,
        neck_hidden_sizes=[256, 512, 768, 768],
        reassemble_factors=[1, 1, 1, 0.5],
        backbone_out_indices=[2, 5, 8, 11],
        readout_type="project",
        layer_norm_eps=1e-6,
    )
    return DPTForDepthEstimation(config)


def converted(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the released weights, and resizes the position embeddings to SIDE. Unknown keys stay."""
    state = renamed(released, _RULES)
    positions = state.get(_POSITIONS)
    if positions is not None and positions.ndim == 3 and positions.shape[1] == 1 + _TRAINED_GRID**2:
        rows = positions[:, 1:].unflatten(1, (_TRAINED_GRID, _TRAINED_GRID)).permute(0, 3, 1, 2)  # (1, d, h, w)
        rows = F.interpolate(rows, (SIDE // 16, SIDE // 16), mode="bilinear").flatten(2).transpose(1, 2)
        state[_POSITIONS] = torch.cat([positions[:, :1], rows], dim=1)  # the first is that of the class token
    return state


class Dpt(DenseExpert):
    """Predicts inverse depth (480, 480)."""

    modality = "depth"
    label = staticmethod(depth_label)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(2 * images - 1).predicted_depth
