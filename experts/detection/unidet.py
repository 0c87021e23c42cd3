"""The backend `unidet`: the detector that made the labels of the released models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target
from experts.batches import ChannelOrder, by_shape, keep_shape
from experts.detection.detections import Detections
from experts.detection.label import Masks, instance_label
from experts.detection.network import UniDet, normalise_and_pad
from experts.weight_loading import Rules, released_network, renamed

FILE = "Unified_learned_OCIM_RS200_6x+2x.pth"

_STEM, _BLOCK = r"backbone\.bottom_up\.stem\.conv1_", r"backbone\.bottom_up\.res(\d)\.(\d+)"
_HEAD, _PREDICTOR = r"roi_heads\.box_head\.(\d)", r"roi_heads\.box_predictor\.(\d)"
_FPN = {"lateral": "inner_blocks", "output": "layer_blocks"}
_RULES: Rules = {
    _STEM + r"3\.norm": "pyramid.body.bn1",
    _STEM + r"(\d)\.norm": lambda m: f"pyramid.body.conv1.{3 * int(m[1]) - 2}",
    _STEM + r"(\d)": lambda m: f"pyramid.body.conv1.{3 * int(m[1]) - 3}",
    _BLOCK + r"\.shortcut\.norm": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.downsample.2",
    _BLOCK + r"\.shortcut": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.downsample.1",
    _BLOCK + r"\.conv(\d)\.norm": lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}.bn{m[3]}",
    _BLOCK: lambda m: f"pyramid.body.layer{int(m[1]) - 1}.{m[2]}",
    r"backbone\.fpn_(lateral|output)(\d)\.norm": lambda m: f"pyramid.fpn.{_FPN[m[1]]}.{int(m[2]) - 3}.1",
    r"backbone\.fpn_(lateral|output)(\d)": lambda m: f"pyramid.fpn.{_FPN[m[1]]}.{int(m[2]) - 3}.0",
    r"backbone\.top_block": "pyramid.fpn.extra_blocks",
    r"proposal_generator\.rpn_head\.conv": "proposals.conv",
    r"proposal_generator\.rpn_head\.objectness_logits": "proposals.objectness",
    r"proposal_generator\.rpn_head\.anchor_deltas": "proposals.deltas",
    _HEAD + r"\.conv(\d)\.norm": lambda m: f"cascade.heads.{m[1]}.convs.{3 * int(m[2]) - 2}",
    _HEAD + r"\.conv(\d)": lambda m: f"cascade.heads.{m[1]}.convs.{3 * int(m[2]) - 3}",
    _HEAD + r"\.fc1": r"cascade.heads.\1.hidden",
    _PREDICTOR + r"\.cls_score": r"cascade.heads.\1.classes",
    _PREDICTOR + r"\.bbox_pred": r"cascade.heads.\1.deltas",
    # Constants that some versions of the framework save with the weights; ours are in the code.
    r"pixel_(mean|std)": (),
    r"proposal_generator\.anchor_generator\.cell_anchors": (),
}


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        channel_order: of the network's input. Its mean and deviation are those of `rgb`; the labels of the
            released models were made with `bgr`.
        masks: how a box is cut out of another, see `experts/detection/label.py`.
    """

    __pydantic_config__ = STRICT
    channel_order: ChannelOrder = "bgr"
    masks: Masks = "signed"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released weights."""
    return [weights / FILE]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "UniDetExpert":
    """The expert with the released weights."""
    return UniDetExpert(released_network(setting.weights / FILE, UniDet, converted), options, setting)


def converted(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """The released state dict with our names; unknown names stay."""
    return renamed(released, _RULES)


class UniDetExpert:
    """Labels with a `UniDet`; see `experts.base.Expert`."""

    def __init__(self, network: UniDet, options: Options, setting: RuntimeConfig) -> None:
        self.network = network.to(setting.device, setting.dtype)
        self.setting = setting
        self.prepare = partial(keep_shape, order=options.channel_order)
        self.masks = options.masks

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Detections]:
        """The objects of each image. Images of one padded size run together, since the network sees the padding."""
        device, dtype = self.setting.device, self.setting.dtype
        padded = [normalise_and_pad(image.to(device)).to(dtype) for image in inputs]

        def run(images: Tensor, indices: list[int]) -> list[Detections]:
            return self.network(images, [tuple(inputs[index].shape[1:]) for index in indices])

        return by_shape(padded, device.type != "cpu", run)

    def decode(self, raw: Detections, target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {"obj_detection": instance_label(raw, target, self.masks)}
