"""The backend `charnet`: CharNet (arXiv 1910.07954), trained on ICDAR 2015, with its released weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from common.pickles import read_torch
from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target
from experts.clip_text import CHECKPOINT, ClipText, clip_text_files
from experts.dense import CHUNK, IMAGENET_MEAN, IMAGENET_STD, SIDE, channels, squash
from experts.fixed_batches import fixed_chunks
from experts.ocr import lexicon
from experts.ocr.decode import Cells, read_words, select_cells
from experts.ocr.label import words_label
from experts.ocr.lexicon import Lexicon, read_lexicon
from experts.ocr.network import CharNet
from experts.weight_loading import load_weights, state_dict

FILE = "icdar2015_hourglass88.pth"


@dataclass(frozen=True)
class Options:
    """What a config may set.

    Attributes:
        clip: the CLIP that embeds what was read, a name on the hub or a folder.
    """

    __pydantic_config__ = STRICT
    clip: str = CHECKPOINT


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released network and lexicon, and what embeds words."""
    return [weights / FILE, weights / lexicon.FILE, *clip_text_files(options.clip, weights)]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "CharNetExpert":
    """The expert with the released weights."""
    words = read_lexicon(setting.weights / lexicon.FILE)
    embed = ClipText(options.clip, setting.weights, setting.device)
    return CharNetExpert(read_network(setting.weights / FILE), words, embed, setting)


def read_network(path: Path) -> CharNet:
    """The network with the weights of a released file."""
    with torch.device("meta"):
        network = CharNet()
    load_weights(network, state_dict(read_torch(path), path), path)
    return network.eval()


class CharNetExpert:
    """Reads words, and embeds them; see `experts.base.Expert`."""

    def __init__(self, network: CharNet, words: Lexicon, embed: ClipText, setting: RuntimeConfig) -> None:
        self.network = network.to(setting.device)
        self.lexicon = words
        self.embed = embed
        self.setting = setting
        self.prepare = partial(squash, side=SIDE, resampling=Image.Resampling.BILINEAR)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Cells]:
        """Per image, the cells in which there is text."""
        device, dtype = self.setting.device, self.setting.dtype
        raw: list[Cells] = []
        for images, count in fixed_chunks(inputs, 1 if device.type == "cpu" else CHUNK):
            pixels = images.to(device) / 255
            pixels = (pixels - channels(IMAGENET_MEAN, pixels)) / channels(IMAGENET_STD, pixels)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                heads = self.network(pixels)
            raw += select_cells(heads)[:count]
        return raw

    def decode(self, raw: Cells, target: Target) -> dict[str, Label]:
        """The label at the image's size.

        Words are embedded here and not in `predict`: which there are hangs on the image's size, and
        meanwhile the network goes on.
        """
        believed = []
        for word in read_words(raw, target.size):
            text = self.lexicon.believed(word.text, word.text_score)
            if text is not None:
                believed.append((text.lower(), word.corners))
        return {"ocr_detection": words_label(believed, self.embed, target.size)}
