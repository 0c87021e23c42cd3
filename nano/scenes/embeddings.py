"""Text embeddings of the Scenes: what CLIP's text tower is to the real label sets."""

import io
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from model.modalities import EMBEDDING_DIM
from nano.scenes.vocabulary import DETECTION_CLASSES, SCENES_CLASSES

TABLES = {"scenes": SCENES_CLASSES, "detection": DETECTION_CLASSES}


@lru_cache(maxsize=1024)
def _word(word: str) -> np.ndarray:
    vector = np.random.Generator(np.random.Philox(key=crc32(word.encode()))).standard_normal(EMBEDDING_DIM)
    return vector / np.linalg.norm(vector)


def embed(text: str) -> np.ndarray:
    """The unit embedding of a text, float32 (64,): the sum of one fixed random direction a word."""
    total = np.sum([_word(word) for word in text.lower().split()] or [_word("")], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def tables(folder: Path) -> dict[Path, bytes]:
    """The files of a folder: scenes.npz, detection.npz (labels, features) and background.npz (features)."""
    content = {
        name: {"labels": np.array(labels), "features": np.stack([embed(label) for label in labels])}
        for name, labels in TABLES.items()
    }
    content["background"] = {"features": embed("background")}
    files = {}
    for name, arrays in content.items():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        files[folder / f"{name}.npz"] = buffer.getvalue()
    return files
