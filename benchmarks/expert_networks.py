"""Seconds and memory of each expert's paper network at real size, with seeded weights in the released format.

python -m benchmarks.expert_networks
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.measure import in_fresh_process, machine, peak_so_far, print_table
from experts.base import RuntimeConfig, Target
from experts.registry import passes
from nano.scenes.scene import render_scene
from tests.parity.released_experts import write_expert

EXPERTS = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
GIGABYTE = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3, help="of each expert (default: %(default)s)")
    parser.add_argument("--experts", nargs="+", choices=EXPERTS, default=EXPERTS, help="default: all")
    parser.add_argument("--device", default="cpu", help="of the networks (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"\nExperts at real size, images of 640 x 480\n{machine()}", flush=True)
    rows = []
    for expert in args.experts:
        with tempfile.TemporaryDirectory() as folder:
            entry = write_expert(expert, Path(folder))
            # A process of its own for each, so that its peak memory is its own.
            row = in_fresh_process(measure, expert, entry, Path(folder), args.images, args.device)
        rows.append(row)
    print_table(("expert", "load", "prepare", "network", "label", "peak memory"), rows)


def measure(expert: str, entry: dict[str, Any], weights: Path, images: int, device: str) -> tuple[str, ...]:
    """Loads an expert and labels images, one after the other: a row of the table."""
    (step,) = passes({expert: entry}, batch_size=1)
    began = time.perf_counter()
    network = step.module.load(step.modalities, step.options, RuntimeConfig(torch.device(device), weights))
    load = time.perf_counter() - began
    seconds: dict[str, list[float]] = {"prepare": [], "network": [], "label": []}
    for seed in range(images + 1):
        image = Image.fromarray(render_scene([4, seed], long_side=640).image).resize((640, 480))
        clock = [time.perf_counter()]
        prepared = network.prepare(image)
        clock.append(time.perf_counter())
        (raw,) = network.predict([prepared])
        clock.append(time.perf_counter())
        network.decode(raw, Target((480, 640), "none", weights))
        clock.append(time.perf_counter())
        if seed:  # the first warms up
            for name, start, end in zip(seconds, clock, clock[1:], strict=False):
                seconds[name].append(end - start)
    medians = [f"{statistics.median(values):.2f} s" for values in seconds.values()]
    return (expert, f"{load:.1f} s", *medians, f"{peak_so_far() / GIGABYTE:.1f} GiB")


if __name__ == "__main__":
    main()
