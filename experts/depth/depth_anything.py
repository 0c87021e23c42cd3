"""The backend `depth_anything`: Depth Anything V2 (arXiv 2406.09414), from the hub or a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation

from common.errors import UserError
from common.validation import STRICT
from experts.base import RuntimeConfig
from experts.batches import normalise
from experts.dense import DenseExpert
from experts.depth.label import depth_label
from experts.hub_networks import from_hub, local_files


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        checkpoint: a name on the hub, or a folder with config.json and model.safetensors.
    """

    __pydantic_config__ = STRICT
    checkpoint: str = "depth-anything/Depth-Anything-V2-Small-hf"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The files of a folder."""
    return local_files(options.checkpoint)


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "DepthAnything":
    """The expert with the weights of the hub or the folder."""
    network = from_hub(DepthAnythingForDepthEstimation, options.checkpoint)
    if network.config.depth_estimation_type != "relative":
        raise UserError(f"checkpoint '{options.checkpoint}': predicts metres; name one of inverse depth")
    return DepthAnything(network, setting)


class DepthAnything(DenseExpert):
    """Predicts inverse depth (side, side) of images at the size of the network's training (518 x 518)."""

    modality = "depth"
    label = staticmethod(depth_label)

    def __init__(self, network: DepthAnythingForDepthEstimation, setting: RuntimeConfig) -> None:
        super().__init__(network, setting, network.config.backbone_config.image_size, Image.Resampling.BICUBIC)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(normalise(images)).predicted_depth
