"""A small data set on disk, with labels of every kind."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset.samples import ImageConfig
from model.modalities import EMBEDDING_DIM, Kind, modality

EXPERTS = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
SIZE = (40, 30)  # width, height


VISUAL = {field.name for field in fields(ImageConfig)}


class Disk:
    """Writes images and labels below a folder.

    Attributes:
        data: the `data_path`.
        labels: the `label_path`.
    """

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.labels = root / "labels"
        self.data.mkdir()

    def add(
        self, image: str, folder: str = "", size: tuple[int, int] = SIZE, experts: Sequence[str] = EXPERTS
    ) -> Path:
        """Writes an image and all its labels; returns the image's path."""
        random = np.random.default_rng(len(image))
        path = self.data / folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (size[1], size[0], 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
        for name in experts:
            entry = modality(name)
            label = self.label(name, image, folder)
            label.parent.mkdir(parents=True, exist_ok=True)
            values = random.integers(0, 3 if entry.is_label_map else 256, shape, dtype=np.uint8)
            Image.fromarray(values if entry.channels == 3 else values[..., 0]).save(label)
            if entry.kind is Kind.INSTANCE:
                label.with_suffix(".json").write_text('{"0": 5, "1": 700, "2": 9}')
            if entry.kind is Kind.WORDS:
                words = {i: {"text": f"w{i}", "features": [float(i + 1)] * EMBEDDING_DIM} for i in range(3)}
                label.with_suffix(".json").write_text(json.dumps(words))
        return path

    def label(self, expert: str, image: str, folder: str = "") -> Path:
        """The PNG of an image's label."""
        return (self.labels / expert / folder / image).with_suffix(".png")

    def write(self, name: str, content: object) -> Path:
        """Writes a file under `data`: text or bytes as they are, other things as JSON."""
        path = self.data / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path


def visual_of(disk: Disk, **options: Any) -> ImageConfig:
    """How its images and labels are read: small, with all experts, unless options say otherwise."""
    defaults = {"label_path": disk.labels, "experts": EXPERTS, "image_resolution": 32, "label_resolution": 16}
    return ImageConfig(**{**defaults, **options})
