"""Rendered scenes and a stand-in expert for the runner."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.scenes.scene import render_scene
from dataset.words import Word
from experts import registry
from experts.base import Label, Target


def _prepare(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L")))


class Grey:
    """Depth is the image in grey; the detection finds it whole; a word is found in wide images."""

    prepare = staticmethod(_prepare)
    batches: list[int]

    def __init__(self) -> None:
        self.batches = []

    def predict(self, inputs: list[torch.Tensor]) -> list[np.ndarray]:
        self.batches.append(len(inputs))
        return [values.numpy() for values in inputs]

    def decode(self, raw: np.ndarray, target: Target) -> dict[str, Label]:
        size = target.size
        assert raw.shape == size
        word = Word("stop", np.arange(64, dtype=np.float32) / 3)
        ids = np.zeros(size, np.uint8)
        return {
            "depth": Label(raw),
            "obj_detection": Label(ids, instances={0: 7}),
            "ocr_detection": Label(ids, words={0: word}) if size[1] > size[0] else Label(None),
        }


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> Grey:
    """Makes `grey` a backend of three experts, and the only one."""
    expert = Grey()

    def backend(module: str) -> SimpleNamespace:
        assert module == "grey module"
        return SimpleNamespace(Options=SimpleNamespace, load=lambda modalities, options, setting: expert)

    backends = {name: {"grey": "grey module"} for name in ("depth", "obj_detection", "ocr_detection")}
    monkeypatch.setattr(registry, "BACKENDS", backends)
    monkeypatch.setattr("experts.runner.backend", backend)
    return expert


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six scenes in `a/` and `a/b/`, of three formats and several sizes."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "a" / "b").mkdir(parents=True)
    names = ("a/one.png", "a/two.jpg", "a/three.JPEG", "a/b/four.webp", "a/b/dotted.name.bmp", "a/b/six.tif")
    for seed, name in enumerate(names):
        image = Image.fromarray(render_scene([11, seed], long_side=96 + 16 * seed).image)
        image.save(folder / name)
    return folder
