"""The released DPT-Hybrid file in terms of transformers' `DPTForDepthEstimation`."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

DROPPED = ("pretrained.model.head.weight", "pretrained.model.head.bias")  # classes of the pre-training
_POSITIONS = "pretrained.model.pos_embed"
_TRAINED_GRID = 24  # patches to a side, of images of 384 pixels
_QKV = re.compile(r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_BIT = "dpt.embeddings.backbone.bit"
_LAYER = r"dpt.encoder.layer.\1"
_NECK = "neck.reassemble_stage"
# Beginnings of keys. Where things are counted from 1, or backwards, a function counts anew.
_RENAMED = [
    (r"pretrained\.model\.cls_token", "dpt.embeddings.cls_token"),
    (r"pretrained\.model\.pos_embed", "dpt.embeddings.position_embeddings"),
    (r"pretrained\.model\.patch_embed\.backbone\.stem\.conv", f"{_BIT}.embedder.convolution"),
    (r"pretrained\.model\.patch_embed\.backbone\.stem\.norm", f"{_BIT}.embedder.norm"),
    (r"pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.blocks", rf"{_BIT}.encoder.stages.\1.layers"),
    (r"pretrained\.model\.patch_embed\.proj", "dpt.embeddings.projection"),
    (r"pretrained\.model\.blocks\.(\d+)\.attn\.proj", f"{_LAYER}.attention.output.dense"),
    (r"pretrained\.model\.blocks\.(\d+)\.norm1", f"{_LAYER}.layernorm_before"),
    (r"pretrained\.model\.blocks\.(\d+)\.norm2", f"{_LAYER}.layernorm_after"),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc1", f"{_LAYER}.intermediate.dense"),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc2", f"{_LAYER}.output.dense"),
    (r"pretrained\.model\.norm", "dpt.layernorm"),
    (
        r"pretrained\.act_postprocess(\d)\.0\.project\.0",
        lambda found: f"{_NECK}.readout_projects.{int(found[1]) - 1}.0",
    ),
    (r"pretrained\.act_postprocess(\d)\.3", lambda found: f"{_NECK}.layers.{int(found[1]) - 1}.projection"),
    (r"pretrained\.act_postprocess(\d)\.4", lambda found: f"{_NECK}.layers.{int(found[1]) - 1}.resize"),
    (r"scratch\.layer(\d)_rn", lambda found: f"neck.convs.{int(found[1]) - 1}"),
    (
        r"scratch\.refinenet(\d)\.out_conv",
        lambda found: f"neck.fusion_stage.layers.{4 - int(found[1])}.projection",
    ),
    (
        r"scratch\.refinenet(\d)\.resConfUnit(\d)\.conv(\d)",
        lambda found: f"neck.fusion_stage.layers.{4 - int(found[1])}.residual_layer{found[2]}.convolution{found[3]}",
    ),
    (r"scratch\.output_conv", "head.head"),
]


def converted(released: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """Gives the released tensors the library's names.

    Args:
        released: the file's state dict; keys that no rule knows stay as they are.
        grid: patches to a side of the network's images, to which the position embeddings are resized.
    """
    state = {}
    for key, value in released.items():
        if key in DROPPED:
            continue
        if found := _QKV.fullmatch(key):
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"dpt.encoder.layer.{found[1]}.attention.attention.{name}.{found[2]}"] = part
        elif key == _POSITIONS and value.ndim == 3 and value.shape[1] == 1 + _TRAINED_GRID**2:
            state[_renamed(key)] = _resized(value, grid)
        else:
            state[_renamed(key)] = value
    return state


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        new, times = re.subn(f"^{pattern}(?=\\.|$)", name, key)
        if times:
            return new
    return key


def _resized(positions: Tensor, grid: int) -> Tensor:
    """(1, 1 + n, d) -> (1, 1 + grid * grid, d); the first row, that of the class token, stays."""
    rows = positions[:, 1:].unflatten(1, (_TRAINED_GRID, _TRAINED_GRID)).permute(0, 3, 1, 2)  # (1, d, h, w)
    rows = F.interpolate(rows, (grid, grid), mode="bilinear").flatten(2).transpose(1, 2)
    return torch.cat([positions[:, :1], rows], dim=1)
