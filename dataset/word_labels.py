"""The words of a text label: what each word id of the map says, and its embedding."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.strict_json import parse_json
from dataset.label_errors import reading
from dataset.shards.shard_folder import ShardFile
from model.modalities import EMBEDDING_DIM


@dataclass(frozen=True)
class Word:
    """One word of an image. `features`: its embedding, float32 (64,)."""

    text: str
    features: np.ndarray


def read_words(path: Path | ShardFile) -> dict[int, Word]:
    """Reads the words beside a text label, by word id.

    Args:
        path: `.json`, as our expert writes it, or the older `.pt`, of which only data is read.

    Raises:
        DamagedLabel: it cannot be read, or holds something else.
    """
    with reading(path, "delete it and make it anew"):
        if path.suffix != ".pt":
            return words_of(parse_json(path.read_bytes()))
        try:
            with path.open("rb") as file:
                return words_of(torch.load(file, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError:  # whose text advises to run what the file holds
            raise ValueError("it holds more than data") from None


def words_of(content: dict[Any, Any]) -> dict[int, Word]:
    """Words by id, from the content of their file.

    Raises:
        Exception: it is something else.
    """
    return {int(number): _word(entry) for number, entry in content.items()}


def words_as_json(words: Mapping[int, Word]) -> dict[str, Any]:
    """The content of the file of words."""
    return {
        # str() is the shortest decimal that reads back as the same float32
        str(key): {"text": word.text, "features": [float(str(x)) for x in word.features]}
        for key, word in words.items()
    }


def _word(entry: dict[str, Any]) -> Word:
    features = np.asarray(entry["features"], dtype=np.float32)
    if features.shape != (EMBEDDING_DIM,):
        raise ValueError(f"features of shape {features.shape}, expected ({EMBEDDING_DIM},)")
    if not np.isfinite(features).all():
        raise ValueError("features that are NaN or infinite")
    if not isinstance(entry["text"], str):
        raise ValueError(f"a text that is {entry['text']!r}")
    return Word(entry["text"], features)
