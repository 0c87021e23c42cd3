"""The words of Scenes, and their embeddings, which stand in for those of CLIP's text tower."""

import io
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np

from model.modalities import EMBEDDING_DIM

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 28, 28),
    "yellow": (246, 212, 24),
    "green": (30, 150, 48),
    "cyan": (40, 205, 220),
    "blue": (32, 62, 215),
    "purple": (140, 40, 180),
    "white": (246, 246, 246),
    "black": (40, 40, 44),
}
SHAPES = ("sphere", "cube", "cylinder", "cone")
SIZES: dict[str, float] = {"small": 0.46, "large": 0.86}  # scale of a solid in world units
PATTERNS = ("plain", "checkered", "striped")  # of the floor
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

WORDS = (  # on signs: 40 words of 3 to 6 letters
    *("bank", "beach", "books", "bread", "bus", "cafe", "danger", "east", "exit", "farm"),
    *("fish", "free", "garden", "gate", "hello", "help", "hotel", "lunch", "market", "milk"),
    *("music", "north", "open", "park", "pizza", "police", "port", "rent", "river", "sale"),
    *("school", "shop", "slow", "south", "stop", "taxi", "tea", "wait", "west", "zoo"),
)

SOLIDS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
SCENES_CLASSES = ("sky", "ground", *SHAPES, "sign")  # of the segmentation
DETECTION_CLASSES = (*SOLIDS, "sign")
TABLES = {"scenes": SCENES_CLASSES, "detection": DETECTION_CLASSES}


@lru_cache(maxsize=1024)
def _direction(word: str) -> np.ndarray:
    """A random unit vector, the same for a word every time."""
    vector = np.random.Generator(np.random.Philox(key=crc32(word.encode()))).standard_normal(EMBEDDING_DIM)
    return vector / np.linalg.norm(vector)


def embed(text: str) -> np.ndarray:
    """The unit embedding of a text, float32 (64,): the sum of its words' random directions."""
    total = np.sum([_direction(word) for word in text.lower().split()] or [_direction("")], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def class_tables(folder: Path) -> dict[Path, bytes]:
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
