"""The backend `nano`: all six labels in one pass."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.errors import UserError, one_line
from common.strict_json import parse_json
from common.weight_checks import check_weights, no_floats
from dataset.label_files import Word
from experts.base import Label, RuntimeConfig, Target
from experts.base import NoOptions as Options
from experts.batches import fixed_chunks
from experts.finite import check_finite
from nano.expert import decode
from nano.expert.network import NanoConfig, NanoNetwork

FOLDER = Path(__file__).resolve().parent.parent / "experts"
CHUNK = 8  # images per forward; a fixed number, so that a label does not depend on the other images

LABELS = {
    "depth": lambda raw, size: decode.depth_label(raw["depth"], size),
    "normal": lambda raw, size: decode.normal_label(raw["normal"], size),
    "seg_scenes": lambda raw, size: decode.semantic_label(raw["semantic"], size),
    "edge": lambda raw, size: decode.edge_label(raw["edge"], size),
    "obj_detection": lambda raw, size: decode.instance_label(raw["classes"], raw["centre"], raw["offset"], size),
    "ocr_detection": lambda raw, size: decode.words_label(raw["text"], raw["word"], size),
}


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The files of the weights, which come with the project."""
    return [FOLDER / "config.json", FOLDER / "model.safetensors"]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "NanoExpert":
    """The expert with the weights that come with the project."""
    return NanoExpert(read_network(FOLDER), modalities, setting.device, setting.dtype)


def read_network(folder: Path) -> NanoNetwork:
    """Reads config.json and model.safetensors (half precision) from a folder."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    for path in (config, weights):
        if not path.exists():
            raise UserError(f"{path}: missing; make it with: python -m nano.expert.train")
    try:
        network = NanoNetwork(TypeAdapter(NanoConfig).validate_python(parse_json(config.read_bytes())))
        state = load_file(weights)
        check_weights(state, weights)
        if others := no_floats(state, network.state_dict()):
            raise ValueError(others[0])
        network.load_state_dict(state)  # converts to float32
    except (SafetensorError, ValueError, RuntimeError) as error:
        reason = one_line(error)[:200]
        raise UserError(f"{folder}: damaged nano experts ({reason}); fetch or train them again") from None
    return network


def prepare(image: Image.Image, side: int) -> Tensor:
    """An RGB image -> uint8 (3, side, side)."""
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class NanoExpert:
    """Labels with a `NanoNetwork`; see `experts.base.Expert`."""

    def __init__(
        self, network: NanoNetwork, modalities: Sequence[str], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.modalities = tuple(modalities)
        self.device = device
        self.lower_precision = torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
        self.prepare = partial(prepare, side=network.config.side)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[dict[str, Any]]:
        """Per image: the maps of `NanoNetwork` as arrays, with probabilities for logits, and the word or None."""
        raw = []
        for images, count in fixed_chunks(inputs, CHUNK):
            with self.lower_precision:
                raw += self._predict_chunk(images.to(self.device))[:count]
        return raw

    def _predict_chunk(self, images: Tensor) -> list[dict[str, Any]]:
        maps = self.network(images)
        check_finite(maps)
        for name in ("edge", "centre", "text"):
            maps[name] = maps[name].sigmoid()
        arrays = {name: values.squeeze(1).float().cpu().numpy() for name, values in maps.items() if name != "semantic"}
        classes = F.interpolate(maps["semantic"], images.shape[-2:], mode="bilinear").argmax(1)
        arrays["semantic"] = classes.byte().cpu().numpy()
        arrays["word"] = self._read(images, arrays["text"])
        return [{name: values[index] for name, values in arrays.items()} for index in range(len(images))]

    def _read(self, images: Tensor, text: np.ndarray) -> list[Word | None]:
        boxes = [decode.text_box(cells) for cells in text]
        # Without a word any box: the reader's batch has a fixed size, too.
        rows = [[index, *(2 * x for x in box or (0, 0, 8, 8))] for index, box in enumerate(boxes)]
        logits = self.network.read(images, torch.tensor(rows, dtype=torch.float32, device=self.device))
        features = self.network.word_features.cpu().numpy()
        check_finite(logits, features)
        return [
            None if box is None else Word(self.network.config.words[word], features[word])
            for box, word in zip(boxes, logits.argmax(1).tolist(), strict=True)
        ]

    def decode(self, raw: dict[str, Any], target: Target) -> dict[str, Label]:
        """The labels asked for, at the image's size."""
        return {name: LABELS[name](raw, target.size) for name in self.modalities}
