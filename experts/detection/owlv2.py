"""The backend `owlv2`: OWLv2 (arXiv 2306.09683) of `transformers`, which detects the 722 classes by their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor
from torchvision.ops import box_convert, clip_boxes_to_image, remove_small_boxes
from transformers import AutoTokenizer, BatchEncoding, Owlv2ForObjectDetection

from common.validation import STRICT
from dataset.class_tables import class_names
from dataset.transforms import picture_bytes
from experts.base import Label, RuntimeConfig, Target
from experts.batches import by_shape, normalise
from experts.detection.detections import Detections, detections
from experts.detection.label import Masks, instance_label
from experts.finite import check_finite
from experts.hub_networks import from_hub, load_checkpoint, local_files
from model.inputs import CLIP_MEAN, CLIP_STD

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        checkpoint: a folder, or a name on the hub.
        score_threshold: of a class's probability.
        masks: how a box is cut out of another, see `experts/detection/label.py`.
    """

    __pydantic_config__ = STRICT
    checkpoint: str = "google/owlv2-base-patch16-ensemble"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    masks: Masks = "signed"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The files of a folder."""
    return local_files(options.checkpoint) + sorted(Path(options.checkpoint).glob("tokenizer*.json"))


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "Owlv2Expert":
    """The expert with the weights of the checkpoint."""
    network = from_hub(Owlv2ForObjectDetection, options.checkpoint)
    tokenizer = load_checkpoint(AutoTokenizer.from_pretrained, options.checkpoint)
    length = network.config.text_config.max_position_embeddings
    texts = [TEMPLATE.format(name) for name in class_names("detection")]
    names = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return Owlv2Expert(network, names, options, setting)


def prepare(image: Image.Image, side: int) -> Tensor:
    """An RGB image -> uint8 (3, h, w), the longer side resized to `side`."""
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    return picture_bytes(image.resize((width, height), Image.Resampling.BILINEAR))


class Owlv2Expert:
    """Labels with OWLv2, which embeds the names of the classes once; see `experts.base.Expert`."""

    def __init__(
        self, network: Owlv2ForObjectDetection, names: BatchEncoding, options: Options, setting: RuntimeConfig
    ) -> None:
        self.network = network.to(setting.device, setting.dtype).eval()
        self.setting = setting
        self.score_threshold = options.score_threshold
        self.side = network.config.vision_config.image_size
        self.prepare = partial(prepare, side=self.side)
        self.masks = options.masks
        with torch.inference_mode():
            texts = self.network.owlv2.get_text_features(**names.to(setting.device))
        self.queries = F.normalize(texts.pooler_output, dim=-1)  # (classes, d)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Detections]:
        """The objects of each image."""
        sizes = [tuple(pixels.shape[1:]) for pixels in inputs]
        squares = [
            F.pad(pixels, (0, self.side - width, 0, self.side - height))
            for pixels, (height, width) in zip(inputs, sizes, strict=True)
        ]

        def run(images: Tensor, indices: list[int]) -> list[Detections]:
            images = normalise(images.to(self.setting.device) / 255, CLIP_MEAN, CLIP_STD)
            grid, _ = self.network.image_embedder(images.to(self.setting.dtype))  # (b, h, w, d)
            features = grid.flatten(1, 2)
            queries = self.queries.expand(len(images), -1, -1)  # (b, classes, d)
            logits = self.network.class_predictor(features, queries)[0].float()
            boxes = self.side * self.network.box_predictor(features, grid).float()  # (b, h * w, 4)
            check_finite(logits, boxes)
            return [
                self._detections(box_convert(image_boxes, "cxcywh", "xyxy"), scores, sizes[index])
                for image_boxes, scores, index in zip(boxes, logits.sigmoid(), indices, strict=True)
            ]

        return by_shape(squares, self.setting.device.type != "cpu", run)

    def _detections(self, boxes: Tensor, probabilities: Tensor, size: tuple[int, int]) -> Detections:
        boxes = clip_boxes_to_image(boxes, size)
        inside = remove_small_boxes(boxes, 1)  # drops boxes in the padding
        return detections(boxes[inside], probabilities[inside], size, self.score_threshold)

    def decode(self, raw: Detections, target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {"obj_detection": instance_label(raw, target, self.masks)}
