"""The backend `rapidocr`: PP-OCR on the CPU, from a package that includes its weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.validation import STRICT
from dataset.transforms import picture_bytes
from experts.base import Label, RuntimeConfig, Target
from experts.clip_text import CHECKPOINT, ClipText, clip_text_files
from experts.finite import check_finite
from experts.ocr.label import words_label

SIDE = 960  # images are shrunk until the longer side is at most this
_PACKAGES = ("rapidocr", "onnxruntime")


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        clip: the CLIP that embeds the texts, a name on the hub or a folder.
    """

    __pydantic_config__ = STRICT
    clip: str = CHECKPOINT


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The package's weights, and the files that embed words.

    Raises:
        UserError: a package is not installed.
    """
    return [*sorted(_folder().glob("models/*.onnx")), *clip_text_files(options.clip, weights)]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "RapidOcrExpert":
    """The expert with the package's weights."""
    _folder()
    return RapidOcrExpert(ClipText(options.clip, setting.weights, setting.device))


def _folder() -> Path:
    found = [find_spec(name) for name in _PACKAGES]
    if None in found:
        raise UserError(f"backend 'rapidocr' needs packages: pip install {' '.join(_PACKAGES)}")
    return Path(found[0].origin).parent


class RapidOcrExpert:
    """Reads words and embeds them; see `experts.base.Expert`."""

    prepare = staticmethod(picture_bytes)  # uint8 (3, h, w), at the image's size

    def __init__(self, embed: ClipText) -> None:
        from rapidocr import RapidOCR

        self.embed = embed
        threads = torch.get_num_threads()
        self.read = RapidOCR(
            params={
                "Global.log_level": "error",
                # The default enlarges an image until its shorter side has 736 pixels, however long the other is.
                "Global.use_preprocess_img": False,
                "Det.limit_type": "max",
                "Det.limit_side_len": SIDE,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def predict(self, inputs: list[Tensor]) -> list[list[tuple[str, np.ndarray]]]:
        """The words of each image in lower case and their corners (4, 2), line by line."""
        return [self._words(image) for image in inputs]

    def _words(self, image: Tensor) -> list[tuple[str, np.ndarray]]:
        blue_first = np.ascontiguousarray(image.flip(0).permute(1, 2, 0).numpy())
        found = self.read(blue_first)
        if getattr(found, "txts", None) is None:  # without text, the result has another type
            return []
        check_finite(found.boxes, found.scores)
        lines = zip(found.txts, found.boxes, strict=True)
        return [word for text, corners in lines for word in split_line(text.lower(), corners)]

    def decode(self, raw: list[tuple[str, np.ndarray]], target: Target) -> dict[str, Label]:
        """The label at the image's size."""
        return {"ocr_detection": words_label(raw, self.embed, target.size)}


def split_line(text: str, corners: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Splits a line at its spaces; each word gets its letters' share of the line's box.

    Args:
        text: the line.
        corners: top left, top right, bottom right, bottom left, (4, 2).
    """
    top_left, top_right, bottom_right, bottom_left = corners
    words = []
    for match in re.finditer(r"\S+", text):
        start, end = match.start() / len(text), match.end() / len(text)
        top = [top_left + share * (top_right - top_left) for share in (start, end)]
        bottom = [bottom_left + share * (bottom_right - bottom_left) for share in (end, start)]
        words.append((match.group(), np.stack([*top, *bottom])))
    return words
