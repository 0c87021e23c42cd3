"""The backend `owlv2`: OWLv2 of `transformers` (arXiv 2306.09683), asked for the names of the 722 classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor
from torchvision.ops import box_convert, clip_boxes_to_image, remove_small_boxes
from transformers import AutoTokenizer, Owlv2ForObjectDetection

from common.validation import STRICT
from dataset.class_tables import class_names
from experts.base import Label, RuntimeConfig, Target
from experts.detection.detections import Detections, detections
from experts.detection.label import InstanceLabels, Masks
from experts.finite import check_finite
from experts.hub_networks import from_hub, local_files
from experts.transformers_loading import load_checkpoint
from model.inputs import CLIP_MEAN, CLIP_STD

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class Options:
    """What a config may set.

    Attributes:
        checkpoint: a folder, or a name on the hub.
        score_threshold: a class is seen if its probability is greater.
        masks: how a box is cut out of another, see `experts/detection/label.py`.
    """

    __pydantic_config__ = STRICT
    checkpoint: str = "google/owlv2-base-patch16-ensemble"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    masks: Masks = "signed"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The checkpoint's, if it is a folder; the library looks after those of the hub."""
    return local_files(options.checkpoint) + sorted(Path(options.checkpoint).glob("tokenizer*.json"))


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Owlv2Expert":
    """The expert with the weights of the checkpoint.

    Raises:
        UserError: there is no such checkpoint, or it is damaged, or of another network.
    """
    network = from_hub(Owlv2ForObjectDetection, options.checkpoint)
    tokenizer = load_checkpoint(AutoTokenizer.from_pretrained, options.checkpoint)
    length = network.config.text_config.max_position_embeddings
    texts = [TEMPLATE.format(name) for name in class_names("detection")]
    tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return Owlv2Expert(network, tokens["input_ids"], tokens["attention_mask"], options, setting)


def prepare(image: Image.Image, side: int) -> Tensor:
    """An RGB image -> uint8 (3, h, w), the longer side as given."""
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class Owlv2Expert:
    """Labels with OWLv2, which reads the classes' names once; see `experts.base.Expert`."""

    def __init__(
        self,
        network: Owlv2ForObjectDetection,
        token_ids: Tensor,
        attention_mask: Tensor,
        options: Options,
        setting: RuntimeConfig,
    ) -> None:
        """Makes the expert.

        Args:
            network: on any device.
            token_ids: int64 (classes, l), what it is asked for.
            attention_mask: (classes, l).
            options: the config's.
            setting: where and how it runs.
        """
        self.network = network.to(setting.device, setting.dtype).eval()
        self.setting = setting
        self.score_threshold = options.score_threshold
        self.side = network.config.vision_config.image_size
        self.prepare = partial(prepare, side=self.side)
        self.label = InstanceLabels(options.masks)
        with torch.inference_mode():
            texts = self.network.owlv2.get_text_features(
                token_ids.to(setting.device), attention_mask.to(setting.device)
            )
        self.queries = F.normalize(texts.pooler_output, dim=-1)  # (classes, d)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Detections]:
        """The objects of each image; on a CPU one image at a time, so that rounding is always the same."""
        size = 1 if self.setting.device.type == "cpu" else len(inputs)
        chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)]
        return [found for chunk in chunks for found in self._predict(chunk)]

    def _predict(self, inputs: list[Tensor]) -> list[Detections]:
        squares = [
            F.pad(pixels, (0, self.side - pixels.shape[2], 0, self.side - pixels.shape[1])) for pixels in inputs
        ]
        images = torch.stack(squares).to(self.setting.device)  # (b, 3, side, side)
        mean, std = (torch.tensor(values, device=images.device) for values in (CLIP_MEAN, CLIP_STD))
        normalised = (images / 255 - mean[:, None, None]) / std[:, None, None]
        grid, _ = self.network.image_embedder(normalised.to(self.setting.dtype))  # (b, h, w, d)
        features = grid.flatten(1, 2)
        queries = self.queries.expand(len(inputs), -1, -1)  # (b, classes, d)
        logits = self.network.class_predictor(features, queries)[0].float()
        boxes = self.side * self.network.box_predictor(features, grid).float()  # (b, h * w, 4)
        check_finite(logits, boxes)
        return [
            self._detections(box_convert(image_boxes, "cxcywh", "xyxy"), scores, tuple(pixels.shape[1:]))
            for image_boxes, scores, pixels in zip(boxes, logits.sigmoid(), inputs, strict=True)
        ]

    def _detections(self, boxes: Tensor, probabilities: Tensor, size: tuple[int, int]) -> Detections:
        boxes = clip_boxes_to_image(boxes, size)
        inside = remove_small_boxes(boxes, 1)  # not those of the padding
        return detections(boxes[inside], probabilities[inside], size, self.score_threshold)

    def decode(self, raw: Detections, target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {"obj_detection": self.label(raw, target)}
