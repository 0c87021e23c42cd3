"""The backend `charnet`: CharNet (arXiv 1910.07954), trained on ICDAR 2015, with its released weights."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from common.errors import UserError
from common.pickles import FETCH
from common.validation import STRICT
from experts.base import Label, RuntimeConfig, Target
from experts.batches import fixed_chunks, normalise, squash
from experts.clip_text import CHECKPOINT, ClipText, clip_text_files
from experts.dense import CHUNK, SIDE
from experts.ocr.decode import Cells, read_words, select_cells
from experts.ocr.label import words_label
from experts.ocr.network import CharNet
from experts.weight_loading import released_network

FILE = "icdar2015_hourglass88.pth"
LEXICON = "GenericVocabulary.txt"
_LEAST_SCORE = 0.80
_SURE_SCORE = 0.98
_SURE_SCORE_OF_CODES = 0.90  # of texts with digits or signs, which no lexicon has


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        clip: the CLIP that embeds the texts, a name on the hub or a folder.
    """

    __pydantic_config__ = STRICT
    clip: str = CHECKPOINT


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released network and lexicon, and the files that embed words."""
    return [weights / FILE, weights / LEXICON, *clip_text_files(options.clip, weights)]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> "CharNetExpert":
    """The expert with the released weights."""
    words = read_lexicon(setting.weights / LEXICON)
    embed = ClipText(options.clip, setting.weights, setting.device)
    return CharNetExpert(released_network(setting.weights / FILE, CharNet), words, embed, setting)


class Lexicon:
    """Known words. Their order decides between equally near ones."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(dict.fromkeys(word.upper() for word in words))

    def believed(self, text: str, score: float) -> str | None:
        """The text, in capitals, that was read with a probability: itself, the nearest word, or None if unreliable."""
        if score < _LEAST_SCORE:
            return None
        if score >= _SURE_SCORE or (score >= _SURE_SCORE_OF_CODES and not text.isalpha()):
            return text
        edits = 0 if len(text) <= 2 else 1 if len(text) <= 5 else 2
        nearest = process.extractOne(text, self.words, scorer=Levenshtein.distance, score_cutoff=edits)
        return None if nearest is None else nearest[0]


def read_lexicon(path: Path) -> Lexicon:
    """Reads a file of one word a line; lines that start with # are comments.

    Raises:
        UserError: the file is missing, no text, or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise UserError(f"lexicon {path}: cannot be read ({reason}); fetch it again: {FETCH}") from None
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not words:
        raise UserError(f"lexicon {path}: no words in it; fetch it again: {FETCH}")
    return Lexicon(words)


class CharNetExpert:
    """Reads words and embeds them; see `experts.base.Expert`."""

    def __init__(self, network: CharNet, words: Lexicon, embed: ClipText, setting: RuntimeConfig) -> None:
        self.network = network.to(setting.device)
        self.lexicon = words
        self.embed = embed
        self.setting = setting
        self.prepare = partial(squash, side=SIDE)

    @torch.inference_mode()
    def predict(self, inputs: list[Tensor]) -> list[Cells]:
        """The cells of each image that hold text."""
        device = self.setting.device
        raw: list[Cells] = []
        for images, count in fixed_chunks(inputs, 1 if device.type == "cpu" else CHUNK):
            pixels = normalise(images.to(device) / 255)
            with self.setting.autocast():
                heads = self.network(pixels)
            raw += select_cells(heads)[:count]
        return raw

    def decode(self, raw: Cells, target: Target) -> dict[str, Label]:
        """The label at the image's size. Words depend on that size, so they are embedded here."""
        words = []
        for word in read_words(raw, target.size):
            text = self.lexicon.believed(word.text, word.text_score)
            if text is not None:
                words.append((text.lower(), word.corners))
        return {"ocr_detection": words_label(words, self.embed, target.size)}
