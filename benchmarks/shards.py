"""Shards compared with a folder: samples a second, the first sample, bytes on disk, the effect of packing."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from benchmarks.file_server import serve
from benchmarks.loader import EXPERTS, SAMPLES, reader
from benchmarks.measure import print_table, start, take_turns
from common.workers import parallel_map
from dataset.captions import CaptionDataset, caption_dataset
from dataset.loader import collate
from dataset.location import Url
from dataset.samples import ImageConfig
from dataset.shards.pack import pack
from model.modalities import modality
from nano.scenes.dataset_files import Options, write_data

SCENES = 32
SHARD_SIZE = 16
TURNS = 3
DATASET = "vqav2"


def main() -> None:
    tiny = start("Data loader for pre-training, 640 px images with six labels, to 224 px, one worker")
    long_side, side = (64, 32) if tiny else (640, 224)
    with tempfile.TemporaryDirectory() as folder:
        plain, as_png, packed = (Path(folder) / name for name in ("plain", "png", "packed"))
        write_data(Options(plain, 0, long_side, True), SCENES, 0, 1)
        with redirect_stderr(StringIO()):  # progress
            for out, form in ((as_png, "png"), (packed, "packed")):
                pack(plain, plain / "labels", out, dataset=DATASET, form=form, shard_size=SHARD_SIZE)
        with served(packed) as address:
            places = {
                "baseline: a folder": plain,
                "ours: shards, PNG labels": as_png,
                "ours: shards, packed labels": packed,
                "ours: the same over HTTP": Url(address),
            }
            compare_speed(places, side)
        compare_sizes(plain, as_png, packed)
        compare_labels(plain, packed, side)


def open_data(place: Path | Url, side: int, augment: bool = True) -> CaptionDataset:
    visual = ImageConfig(
        label_path=place / "labels", experts=EXPERTS, image_resolution=side, label_resolution=side, augment=augment
    )
    return caption_dataset("coco", "train", place, visual)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a folder, in a process of its own; its address."""
    with closing(parallel_map(serve, [folder], 1, fresh=True)) as server:
        yield next(server)


def compare_speed(places: dict[str, Path | Url], side: int) -> None:
    """Samples a second, and the time from nothing to the first sample."""
    sets = {name: open_data(place, side) for name, place in places.items()}
    ways = {name: reader(data, collate) for name, data in sets.items()}
    timings = take_turns(ways, TURNS)
    first = take_turns({name: first_sample(place, side) for name, place in places.items()}, TURNS)
    plain, *others = (timing.result for timing in timings.values())
    check(plain, others[0])
    before = next(iter(timings.values())).seconds
    processor = processor_time(sets)
    rows = [
        [
            name,
            f"{SAMPLES / timing.seconds:.1f}",
            f"{before / timing.seconds:.2f}x",
            f"{1000 * processor[name]:.1f}",
            f"{1000 * first[name].seconds:.0f}",
        ]
        for name, timing in timings.items()
    ]
    print_table(["", "samples/s", "of the folder", "CPU ms/sample", "ms to the first"], rows)


def processor_time(sets: dict[str, CaptionDataset]) -> dict[str, float]:
    """CPU seconds of a sample, medians; other work on the machine hardly changes them."""
    seconds: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(TURNS):
        for name, data in sets.items():
            began = time.process_time()
            for index in range(SCENES):
                data[index]
            seconds[name].append((time.process_time() - began) / SCENES)
    return {name: statistics.median(values) for name, values in seconds.items()}


def first_sample(place: Path | Url, side: int) -> Callable[[], Any]:
    return lambda: open_data(place, side)[0]


def check(expected: Any, found: Any) -> None:
    """That batches are the same, to the bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(expected, found)
    elif isinstance(expected, dict):
        for key, value in expected.items():
            check(value, found[key])


def compare_sizes(plain: Path, as_png: Path, packed: Path) -> None:
    """Bytes an image on disk: of files, in shards with headers and indices, and blocks of 4 KiB."""
    print()
    rows, totals = [], [0.0] * 4
    for expert in ("images", *EXPERTS):
        folders = [
            root / DATASET if expert == "images" else root / "labels" / expert for root in (plain, as_png, packed)
        ]
        sizes = [[path.stat().st_size for path in folder.rglob("*") if path.is_file()] for folder in folders]
        blocks = sum(-(-size // 4096) * 4096 for size in sizes[0])
        numbers = [total / SCENES for total in (sum(sizes[0]), blocks, sum(sizes[1]), sum(sizes[2]))]
        rows.append([expert, *(f"{number:.0f}" for number in numbers)])
        if expert != "images":
            totals = [total + number for total, number in zip(totals, numbers, strict=True)]
    rows.append(["six labels", *(f"{total:.0f}" for total in totals)])
    header = ["bytes an image", "plain: files", "plain: blocks of 4 KiB", "ours: shards, PNG", "ours: shards, packed"]
    print_table(header, rows)


def compare_labels(plain: Path, packed: Path, side: int) -> None:
    """The differences of packed labels of 480 pixels from labels of full size."""
    print()
    full, small = open_data(plain, side, augment=False), open_data(packed, side, augment=False)
    rows = []
    for expert in EXPERTS:
        pairs = [(full[index]["labels"][expert], small[index]["labels"][expert]) for index in range(0, len(full), 5)]
        changed = torch.cat([(a != b).any(0).flatten() for a, b in pairs]).float().mean()
        distance = torch.cat([(a.float() - b.float()).abs().flatten() for a, b in pairs]).mean() / 255
        mean = "" if modality(expert).is_label_map else f"{100 * distance:.2f} %"
        rows.append([expert, f"{100 * changed:.2f} %", mean])
    print_table(["at most 480 px against full size", "pixels that differ", "mean difference"], rows)


if __name__ == "__main__":
    main()
