"""The backend `depth_anything`: Depth Anything V2 (arXiv 2406.09414), from the hub or a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation

from common.errors import UserError
from common.validation import STRICT
from experts.base import RuntimeConfig
from experts.dense import IMAGENET_MEAN, IMAGENET_STD, DenseExpert, channels
from experts.depth.label import depth_label
from experts.hub_networks import from_hub, local_files


@dataclass(frozen=True)
class Options:
    """What a config may set.

    Attributes:
        checkpoint: a name on the hub, or a folder with config.json and model.safetensors.
    """

    __pydantic_config__ = STRICT
    checkpoint: str = "depth-anything/Depth-Anything-V2-Small-hf"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """Those of the folder; what the hub has is fetched when it is loaded."""
    return local_files(options.checkpoint)


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "DepthAnything":
    """The expert with the weights of the hub or the folder."""
    network = from_hub(DepthAnythingForDepthEstimation, options.checkpoint)
    if network.config.depth_estimation_type != "relative":
        raise UserError(f"checkpoint '{options.checkpoint}': predicts metres; name one of inverse depth")
    return DepthAnything(network, setting)


class DepthAnything(DenseExpert):
    """Inverse depth, as large as the images the network was trained with (518 x 518)."""

    modality = "depth"

    def __init__(self, network: DepthAnythingForDepthEstimation, setting: RuntimeConfig) -> None:
        side = network.config.backbone_config.image_size
        super().__init__(network, setting, side, Image.Resampling.BICUBIC)

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (channels(values, images) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return self.network((images - mean) / std).predicted_depth

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return depth_label(raw, size)
