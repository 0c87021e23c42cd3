"""Labels of networks that predict queries: a class and a mask each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from experts.base import Label, RuntimeConfig, Target
from experts.segmentation.semantic import Scores, label_map, likely, semantic_scores

_STRIDE = 32  # the network's input is padded to a multiple of it

# Normalised images (b, 3, h, w) -> class logits (b, q, classes + 1), mask logits (b, q, h / 4, w / 4).
Network = Callable[[Tensor], tuple[Tensor, Tensor]]

# Weights that the library's networks have and do not run.
UNUSED = {f"model.pixel_level_module.encoder.swin.layernorm.{name}" for name in ("weight", "bias")}


def on_device(network: PreTrainedModel, setting: RuntimeConfig) -> PreTrainedModel:
    """Puts a Mask2Former or OneFormer where it is to run.

    In lower precision runs the backbone alone, which is most of the work. The decoders look at single
    points of the features and cut masks at a threshold: they need float32.
    """
    network = network.to(setting.device).eval()
    if setting.dtype != torch.float32:
        backbone = network.model.pixel_level_module.encoder
        backbone.forward = torch.autocast(setting.device.type, setting.dtype)(backbone.forward)
        backbone.register_forward_hook(_to_float32)
    return network


def _to_float32(backbone: torch.nn.Module, inputs: tuple, output: Any) -> Any:
    output.feature_maps = tuple(features.float() for features in output.feature_maps)
    return output


class SegmentationExpert:
    """Labels with one network per modality, all of which see the same input; see `experts.base.Expert`."""

    def __init__(
        self,
        networks: Mapping[str, Network],
        prepare: Callable[[Image.Image], Tensor],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
    ) -> None:
        """Makes an expert of networks that are on their device.

        Args:
            networks: by modality, see `on_device`.
            prepare: an image to the network's input, uint8 (3, h, w).
            mean: of the input's channels, as bytes.
            std: of the input's channels, as bytes.
            device: theirs.
        """
        self.networks = dict(networks)
        self.prepare = prepare
        self.device = device
        # On a CPU it saves no time, and rounding would depend on how many images there are.
        self.batched = device.type != "cpu"
        self.mean, self.std = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[dict[str, Scores]]:
        """Scores per modality of each image."""
        groups: dict[object, list[int]] = {}
        for index, pixels in enumerate(inputs):
            groups.setdefault(pixels.shape if self.batched else index, []).append(index)
        raw: dict[int, dict[str, Scores]] = {}
        for indices in groups.values():
            images = torch.stack([inputs[index] for index in indices]).to(self.device)
            raw |= zip(indices, self._predict(images), strict=True)
        return [raw[index] for index in range(len(inputs))]

    def _predict(self, images: Tensor) -> list[dict[str, Scores]]:
        height, width = images.shape[-2:]
        pixels = (images - self.mean) / self.std
        pixels = F.pad(pixels, (0, -width % _STRIDE, 0, -height % _STRIDE))
        raw: list[dict[str, Scores]] = [{} for _ in images]
        for name, network in self.networks.items():
            for scores, classes, masks in zip(raw, *network(pixels), strict=True):
                full = semantic_scores(classes, masks, pixels.shape[-2:], (height, width))
                scores[name] = likely(full)
        return raw

    def decode(self, raw: dict[str, Scores], target: Target) -> dict[str, Label]:
        """The labels asked for, at the image's size."""
        return {name: Label(label_map(scores, target.size)) for name, scores in raw.items()}
