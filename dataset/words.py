"""The words of a text label: what each word id of the map says, and its embedding."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.errors import UserError, one_line
from model.modalities import EMBEDDING_DIM


@dataclass(frozen=True)
class Word:
    """One word of an image. `features`: its embedding, float32 (64,)."""

    text: str
    features: np.ndarray


def read_words(path: Path) -> dict[int, Word]:
    """Reads the words beside a text label, by word id.

    Args:
        path: `.json`, as our expert writes it, or the older `.pt`, of which only data is read.

    Raises:
        UserError: damaged.
    """
    try:
        if path.suffix == ".pt":
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
        return {int(number): _word(entry) for number, entry in content.items()}
    except pickle.UnpicklingError:
        raise UserError(
            f"words {path}: holds more than data, or is damaged; delete it, make it anew"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = one_line(error)[:100]
        raise UserError(f"words {path}: damaged ({reason}); delete it and make it anew") from None


def _word(entry: dict[str, Any]) -> Word:
    features = np.asarray(entry["features"], dtype=np.float32)
    if features.shape != (EMBEDDING_DIM,):
        raise ValueError(f"features of shape {features.shape}, expected ({EMBEDDING_DIM},)")
    return Word(str(entry["text"]), features)
