"""Labels of networks that predict a class and a mask for each of their queries.

The score of a class at a pixel is the sum over all queries of the probability of the class times that of the
mask. The label is the class of greatest score after the scores were resized to the image. They are resized where
labels are written, since the network does not know the image's size. Classes that cannot win are left out before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from experts.base import Label, RuntimeConfig, Target
from experts.batches import by_shape, normalise
from experts.finite import check_finite

# Normalised images (b, 3, h, w) -> class logits (b, q, classes + 1), mask logits (b, q, h / 4, w / 4).
Network = Callable[[Tensor], tuple[Tensor, Tensor]]
# Weights that the library's networks have and do not use.
UNUSED = frozenset(f"model.pixel_level_module.encoder.swin.layernorm.{name}" for name in ("weight", "bias"))
_STRIDE = 32  # the network's input is padded to a multiple of it
_QUERIES = 50  # masks at full size at once: 46 MB at 480 x 480
_CLASSES = 16


@dataclass(frozen=True)
class Scores:
    """The likely classes of an image, ascending, and their scores at the size of its input, float32 (k, h, w)."""

    classes: list[int]
    values: Tensor


def on_device(network: PreTrainedModel, setting: RuntimeConfig) -> PreTrainedModel:
    """Puts a Mask2Former or OneFormer on its device.

    In lower precision, only the backbone runs, which is most of the work. The decoders need float32: they look
    at single points of the features and cut masks at a threshold.
    """
    network = network.to(setting.device).eval()
    if setting.dtype != torch.float32:
        backbone = network.model.pixel_level_module.encoder
        backbone.forward = setting.autocast()(backbone.forward)

        def to_float32(module: object, inputs: object, output: object) -> object:
            output.feature_maps = tuple(features.float() for features in output.feature_maps)
            return output

        backbone.register_forward_hook(to_float32)
    return network


def run_queries(
    network: PreTrainedModel, pixels: Tensor, columns: Tensor | None = None, **inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """A Mask2Former or OneFormer as a `Network`: `columns` order its classes, `inputs` are its others, (1, n)."""
    inputs = {name: values.expand(len(pixels), -1) for name, values in inputs.items()}
    output = network(pixel_values=pixels, **inputs)
    classes = output.class_queries_logits
    return classes if columns is None else classes[..., columns], output.masks_queries_logits


class SegmentationExpert:
    """Labels with a network for each modality, all of which see the same input; see `experts.base.Expert`.

    Args:
        networks: by modality, on their device.
        prepare: an image -> the network's input, uint8 (3, h, w).
        mean, std: of the input's channels, as bytes.
        device: of the networks.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        prepare: Callable[[Image.Image], Tensor],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> None:
        self.networks = dict(networks)
        self.prepare = prepare
        self.device = device
        self.batched = device.type != "cpu"
        self.mean, self.std = mean, std

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[dict[str, Scores]]:
        """Scores per modality of each image."""
        return by_shape(inputs, self.batched, self._predict)

    def _predict(self, images: Tensor, _: list[int]) -> list[dict[str, Scores]]:
        height, width = images.shape[-2:]
        pixels = normalise(images.to(self.device), self.mean, self.std)
        pixels = F.pad(pixels, (0, -width % _STRIDE, 0, -height % _STRIDE))
        raw: list[dict[str, Scores]] = [{} for _ in images]
        for name, network in self.networks.items():
            for scores, classes, masks in zip(raw, *network(pixels), strict=True):
                scores[name] = likely(semantic_scores(classes, masks, pixels.shape[-2:], (height, width)))
        return raw

    def decode(self, raw: dict[str, Scores], target: Target) -> dict[str, Label]:
        """The labels at the image's size."""
        return {name: Label(label_map(scores, target.size)) for name, scores in raw.items()}


def semantic_scores(
    class_logits: Tensor, mask_logits: Tensor, padded: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Scores of all classes, float32 (classes, *size), in little memory.

    Args:
        class_logits: (q, classes + 1), the last is "no object".
        mask_logits: (q, h / 4, w / 4).
        padded: height and width of the network's input.
        size: height and width of the image at its top left.

    Raises:
        NotFinite: a logit is NaN or infinite.
    """
    check_finite(class_logits, mask_logits)
    probabilities = class_logits.softmax(-1)[:, :-1]  # (q, c)
    scores = probabilities.new_zeros(probabilities.shape[1], size[0] * size[1])
    for classes, logits in zip(probabilities.split(_QUERIES), mask_logits.split(_QUERIES), strict=True):
        masks = F.interpolate(logits[None], padded, mode="bilinear")[0]
        masks = masks[:, : size[0], : size[1]].flatten(1).sigmoid()
        scores.addmm_(classes.T, masks)  # (c, q) x (q, h * w)
    return scores.unflatten(1, size)


def likely(scores: Tensor) -> Scores:
    """Drops the classes that win nowhere, at any size to which the scores (c, h, w) may be resized.

    A pixel resized bilinearly has scores between those of 2 x 2 neighbours, with the same weights for all
    classes. So a class loses there if the least score of another one exceeds its greatest.

    Raises:
        NotFinite: a score is NaN or infinite.
    """
    check_finite(scores)
    cell = (min(2, scores.shape[1]), min(2, scores.shape[2]))
    least = torch.stack([-F.max_pool2d(-chunk, cell, stride=1).amin(0) for chunk in scores.split(_CLASSES)]).amax(0)
    least *= 1 - 1e-5  # far more than the rounding of resizing
    wins = torch.cat(
        [(F.max_pool2d(chunk, cell, stride=1) >= least).flatten(1).any(1) for chunk in scores.split(_CLASSES)]
    )
    return Scores(wins.nonzero().flatten().tolist(), scores[wins].cpu())


def label_map(scores: Scores, size: tuple[int, int]) -> np.ndarray:
    """The class of each pixel, uint8 (*size); the first one on ties.

    Raises:
        NotFinite: a score is NaN or infinite.
    """
    check_finite(scores)
    best = torch.full(size, -torch.inf)
    winner = torch.zeros(size, dtype=torch.uint8)
    for index, values in zip(scores.classes, scores.values, strict=True):  # one at a time: photos are large
        resized = F.interpolate(values[None, None], size, mode="bilinear")[0, 0]
        winner.masked_fill_(resized > best, index)
        torch.maximum(best, resized, out=best)
    return winner.numpy()
