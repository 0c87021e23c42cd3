"""Does labelling take longer than its networks? One step after the other, and the runner.

python -m benchmarks.label_runner
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.fake_expert import FakeExpert
from benchmarks.measure import machine, print_table
from dataset.images import read_image
from experts.base import RuntimeConfig, Target
from experts.dataset_images import images_to_label
from experts.label_writer import write_label
from experts.registry import BACKENDS, passes
from experts.runner import generate_labels
from nano.expert.backend import LABELS, NanoExpert
from nano.scenes.scene import render_scene

BATCH = 16
_DISTINCT = 8  # rendering a scene takes longer than labelling it
_DATASET = "scenes"
_NETWORKS: dict[str, dict[str, Any]] = {
    "nano, six labels": dict.fromkeys(LABELS, "nano"),
    "0.5 s on the CPU": {"normal": {"name": "fake", "seconds": 0.5}},
    "0.1 s on another device": {"normal": {"name": "fake", "seconds": 0.1, "elsewhere": True}},
}


@dataclass(frozen=True)
class Timing:
    """Seconds in all, and those of the network."""

    wall: float
    network: float

    def cells(self) -> tuple[str, str, str]:
        """The cells of the table: both, and the share of the rest."""
        return f"{self.wall:.2f} s", f"{self.network:.2f} s", f"{1 - self.network / self.wall:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=640, help="of the images, pixels (default: %(default)s)")
    args = parser.parse_args()
    BACKENDS["normal"]["fake"] = "benchmarks.fake_expert"
    spent = [_clocked(NanoExpert), _clocked(FakeExpert)]
    print(f"\n{__doc__.splitlines()[0]}\n{machine()}, {args.images} images of {args.side} pixels", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _render(root / "data" / _DATASET, args.images, args.side)
        for number, (name, backends) in enumerate(_NETWORKS.items()):
            serial = _timing(
                lambda to, use=backends: _label_serially(root / "data", to, use), root / f"s{number}", spent
            )
            ours = _timing(
                lambda to, use=backends: generate_labels(root / "data", to, use, batch_size=BATCH),
                root / f"o{number}",
                spent,
            )
            rows.append((name, *serial.cells(), *ours.cells(), f"{serial.wall / ours.wall:.2f} x"))
    print_table(("network", "serial", "network", "rest", "runner", "network", "rest", "faster"), rows)


def _render(folder: Path, images: int, side: int) -> None:
    folder.mkdir(parents=True)
    for number in range(images):
        path = folder / f"{number:05}.jpg"
        if number < _DISTINCT:
            Image.fromarray(render_scene([5, number], long_side=side).image).save(path, quality=95)
        else:
            path.write_bytes((folder / f"{number % _DISTINCT:05}.jpg").read_bytes())


def _clocked(cls: type) -> list[float]:
    """A list to which each call of an expert's network adds its seconds."""
    seconds: list[float] = []
    predict = cls.predict

    def clocked(self: Any, inputs: list) -> list:
        began = time.perf_counter()
        raw = predict(self, inputs)
        seconds.append(time.perf_counter() - began)
        return raw

    cls.predict = clocked
    return seconds


def _timing(label: Callable[[Path], object], save_path: Path, spent: list[list[float]]) -> Timing:
    before = sum(map(sum, spent))
    began = time.perf_counter()
    label(save_path)
    return Timing(time.perf_counter() - began, sum(map(sum, spent)) - before)


def _label_serially(data_path: Path, save_path: Path, backends: Mapping[str, Any]) -> None:
    """Reads a batch, runs the network on it, writes its labels, reads the next."""
    images = images_to_label(data_path)
    for work in passes(backends, BATCH):
        expert = work.module.load(work.modalities, work.options, RuntimeConfig(torch.device("cpu"), Path()))
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            pictures = [read_image(Path(image.path)) for image in batch]
            raw = expert.predict([expert.prepare(picture) for picture in pictures])
            for image, picture, output in zip(batch, pictures, raw, strict=True):
                target = Target((picture.height, picture.width), image.label, save_path)
                for name, label in expert.decode(output, target).items():
                    write_label(save_path, name, image.label, label)


if __name__ == "__main__":
    main()
