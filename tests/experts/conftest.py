"""Rendered scenes and a stand-in expert for the runner."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from common.validation import STRICT
from dataset.label_files import Word
from dataset.label_manifest import MANIFEST
from experts import registry
from experts.base import Label, Target
from experts.finite import check_finite
from nano.scenes.scene import render_scene

EXPERTS = Path(__file__).resolve().parent.parent.parent / "experts"


def content(folder: Path, *, manifests: bool = True) -> dict[str, bytes]:
    """The bytes of all files below a folder. A manifest tells when weights were modified."""
    files = (path for path in folder.rglob("*") if path.is_file() and (manifests or path.name != MANIFEST))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _prepare(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L")))


@dataclass(frozen=True)
class Options:
    """Of the stand-in."""

    __pydantic_config__ = STRICT
    shift: int = 0
    colours: list[str] = field(default_factory=list)


class Grey:
    """Depth is the image in grey; the detection finds it whole; a word is found in wide images.

    Attributes:
        batches: how many images each call of the network had.
        decoded: the labels' names.
        weights: the file it asks for.
        spoilt: long sides of images for which its output holds NaN.
        check: whether it notices NaN itself.
        before_decoding: is called with each target.
    """

    prepare = staticmethod(_prepare)

    def __init__(self, weights: Path) -> None:
        self.batches: list[int] = []
        self.decoded: list[str] = []
        self.weights = weights
        self.shift = 0
        self.spoilt: set[int] = set()
        self.check = False
        self.before_decoding: Callable[[Target], object] = id

    def predict(self, inputs: list[torch.Tensor]) -> list[np.ndarray]:
        self.batches.append(len(inputs))
        raw = [values.numpy().astype(np.float32) for values in inputs]
        for values in raw:
            if max(values.shape) in self.spoilt:
                values[0, 0] = np.nan
        if self.check:
            check_finite(raw)
        return raw

    def decode(self, raw: np.ndarray, target: Target) -> dict[str, Label]:
        self.before_decoding(target)
        size, raw = target.size, raw.astype(np.uint8)
        assert raw.shape == size
        self.decoded.append(target.key)
        word = Word("stop", np.arange(64, dtype=np.float32) / 3)
        ids = np.zeros(size, np.uint8)
        return {
            "depth": Label(raw + np.uint8(self.shift)),
            "obj_detection": Label(ids, instances={0: 7}),
            "ocr_detection": Label(ids, words={0: word}) if size[1] > size[0] else Label(None),
        }


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Grey:
    """Makes `grey` a backend of three experts, and the only one."""
    weights = tmp_path_factory.mktemp("weights") / "grey.bin"
    weights.write_bytes(b"weights")
    expert = Grey(weights)
    module = ModuleType("grey module")
    module.Options = Options
    module.files = lambda modalities, options, folder: [expert.weights]

    def load(modalities: object, options: Options, setting: object) -> Grey:
        expert.shift = options.shift
        return expert

    module.load = load
    backends = {name: {"grey": "grey module"} for name in ("depth", "obj_detection", "ocr_detection")}
    monkeypatch.setattr(registry, "BACKENDS", backends)
    monkeypatch.setitem(sys.modules, "grey module", module)
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
