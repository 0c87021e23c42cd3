"""Text embeddings of the Scenes: what CLIP's text tower is to the real label sets."""

import io
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from dataset.files import write_bytes
from dataset.scenes.lexicon import DETECTION_CLASSES, SCENES_CLASSES
from model.modalities import EMBEDDING_DIM

TABLES = {"scenes": SCENES_CLASSES, "detection": DETECTION_CLASSES}


@lru_cache(maxsize=1024)
def _word(word: str) -> np.ndarray:
    vector = np.random.Generator(np.random.Philox(key=crc32(word.encode()))).standard_normal(EMBEDDING_DIM)
    return vector / np.linalg.norm(vector)


def embed(text: str) -> np.ndarray:
    """The unit embedding of a text, float32 (64,): the sum of one fixed random direction a word."""
    total = np.sum([_word(word) for word in text.lower().split()] or [_word("")], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def write_tables(folder: Path) -> list[Path]:
    """Writes scenes.npz, detection.npz (labels, features) and background.npz (features) into a folder."""
    content = {
        name: {"labels": np.array(labels), "features": np.stack([embed(label) for label in labels])}
        for name, labels in TABLES.items()
    }
    content["background"] = {"features": embed("background")}
    paths = []
    for name, arrays in content.items():
        path = folder / f"{name}.npz"
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())
        paths.append(path)
    return paths
