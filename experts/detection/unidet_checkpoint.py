"""Weights of UniDet from the released file."""

import re
from collections.abc import Callable
from pathlib import Path
from re import Match

import torch
from torch import Tensor

from common.pickles import read_torch
from experts.detection.network import UniDet
from experts.weight_loading import load_weights, state_dict

# How released names begin -> how ours do; the first rule that fits holds.
_STEM, _BLOCK = r"backbone\.bottom_up\.stem\.conv1_", r"backbone\.bottom_up\.res(\d)\.(\d+)\."
_HEAD, _PREDICTOR = r"roi_heads\.box_head\.(\d)\.", r"roi_heads\.box_predictor\.(\d)\."
_BEGINNINGS: dict[str, Callable[[Match], str]] = {
    _STEM + r"3\.norm\.": lambda m: "pyramid.body.bn1.",
    _STEM + r"(\d)\.norm\.": lambda m: f"pyramid.body.conv1.{3 * int(m[1]) - 2}.",
    _STEM + r"(\d)\.": lambda m: f"pyramid.body.conv1.{3 * int(m[1]) - 3}.",
    _BLOCK + r"shortcut\.norm\.": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.downsample.2.",
    _BLOCK + r"shortcut\.": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.downsample.1.",
    _BLOCK + r"conv(\d)\.norm\.": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.bn{m[3]}.",
    _BLOCK: lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.",
    r"backbone\.fpn_(lateral|output)(\d)\.norm\.": lambda m: f"pyramid.{m[1]}s.{int(m[2]) - 3}.1.",
    r"backbone\.fpn_(lateral|output)(\d)\.": lambda m: f"pyramid.{m[1]}s.{int(m[2]) - 3}.0.",
    r"backbone\.top_block\.": lambda m: "pyramid.",
    r"proposal_generator\.rpn_head\.conv\.": lambda m: "proposals.conv.",
    r"proposal_generator\.rpn_head\.objectness_logits\.": lambda m: "proposals.objectness.",
    r"proposal_generator\.rpn_head\.anchor_deltas\.": lambda m: "proposals.deltas.",
    _HEAD + r"conv(\d)\.norm\.": lambda m: f"cascade.heads.{m[1]}.convs.{3 * int(m[2]) - 2}.",
    _HEAD + r"conv(\d)\.": lambda m: f"cascade.heads.{m[1]}.convs.{3 * int(m[2]) - 3}.",
    _HEAD + r"fc1\.": lambda m: f"cascade.heads.{m[1]}.hidden.",
    _PREDICTOR + r"cls_score\.": lambda m: f"cascade.heads.{m[1]}.classes.",
    _PREDICTOR + r"bbox_pred\.": lambda m: f"cascade.heads.{m[1]}.deltas.",
}
# Constants, which some versions of the framework save with the weights; ours stand in the code.
_DROPPED = r"pixel_(mean|std)$|proposal_generator\.anchor_generator\.cell_anchors\."


def converted(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """The released state dict by our names; a name that is none of this network's is kept."""
    return {_our_name(name): value for name, value in released.items() if not re.match(_DROPPED, name)}


def _our_name(released: str) -> str:
    for beginning, rename in _BEGINNINGS.items():
        if match := re.match(beginning, released):
            return rename(match) + released[match.end() :]
    return released


def load_network(path: Path) -> UniDet:
    """The network with the weights of the released file.

    Raises:
        UserError: the file is missing, damaged or of another network.
    """
    content = read_torch(path)
    wrapped = isinstance(content, dict) and "model" in content
    released = state_dict(content, path, "model" if wrapped else "")
    with torch.device("meta"):
        network = UniDet()
    load_weights(network, converted(released), path)
    return network.requires_grad_(False).eval()
