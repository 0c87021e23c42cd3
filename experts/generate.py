"""Writes expert labels for a data set: `python experts/generate.py`, or with `accelerate launch`.

configs/experts.yaml names the data, the place of the labels and the networks. `generate_<expert>.py` beside this
file run one expert each. Exit code 3: some images could not be read or labelled. Exit code 2: a mistake to mend,
named in a line.
"""

import argparse
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pydantic import Field

from common.cli import UNREADABLE_IMAGES, named_path, run
from common.errors import UserError
from common.files import ROOT
from common.validation import STRICT
from common.yaml_config import PositiveInt, Workers, read_config
from dataset.location import Location, as_location
from experts.registry import WEIGHTS, Backends, check_names
from model.modalities import MODALITIES, Kind

SEGMENTATIONS = tuple(name for name, modality in MODALITIES.items() if modality.kind is Kind.SEMANTIC)


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """`configs/experts.yaml`. The keys without a line here are arguments of `generate_labels`.

    Attributes:
        data_path: folder or address of the data-set folders, which hold images or shards.
        datasets: folders below `data_path` to label; an empty list means all.
        weights_path: folder of the released weight files.
    """

    __pydantic_config__ = STRICT
    data_path: Location
    save_path: Path
    datasets: list[str] = field(default_factory=list)
    backends: Backends
    weights_path: Path = WEIGHTS
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch_size: PositiveInt = 16
    num_workers: Workers = 2
    num_writers: Annotated[int, Field(ge=1, le=1024)] = 4


def main(experts: Collection[str] | None = None) -> int:
    """Runs the command for some experts of the config; None adds `--experts` to choose them. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes expert labels for the images of a data set.")
    default = ROOT / "configs" / "experts.yaml"
    parser.add_argument("--config", type=named_path, default=default, help="YAML file (default: %(default)s)")
    if experts is None:
        parser.add_argument("--experts", default="all", help="names separated by commas (default: all)")
    parser.add_argument("--data_path", type=as_location, help="instead of the config's")
    parser.add_argument("--save_path", type=named_path, help="instead of the config's")
    parser.add_argument("--datasets", nargs="+", help="instead of the config's; all: the whole data_path")
    parser.add_argument("--overwrite", action="store_true", help="make labels that exist again")
    args = parser.parse_args()
    config = read_config(args.config, GenerateConfig)
    if experts is None:
        experts = list(config.backends) if args.experts == "all" else args.experts.split(",")
        for name in experts:
            if name not in config.backends:
                known = ", ".join(config.backends)
                raise UserError(f"{args.config}: key 'backends' has no expert '{name}'; it has: {known}")
    backends = {name: backend for name, backend in config.backends.items() if name in experts}
    if not backends:
        raise UserError(f"{args.config}: key 'backends' names no network for {' or '.join(experts)}")
    check_names(backends)
    datasets = config.datasets if args.datasets is None else args.datasets

    from accelerate import PartialState  # torch takes seconds

    from experts.runner import UNREADABLE_LOG, generate_labels

    save_path = args.save_path or config.save_path
    report = generate_labels(
        args.data_path or config.data_path,
        save_path,
        backends,
        datasets=[] if args.datasets == ["all"] else datasets,
        weights=config.weights_path,
        precision=config.precision,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        num_writers=config.num_writers,
        overwrite=args.overwrite,
    )
    if PartialState().is_main_process:
        for note in report.notes:
            print(note, file=sys.stderr)
        print(f"{report.images} images: {report.labelled} labelled, {report.finished_before} had labels")
        for count, what in (
            (len(report.unreadable), "unreadable images skipped"),
            (len(report.failed), "images got no label of some expert"),
        ):
            if count:
                print(f"{count} {what}, listed in {save_path / UNREADABLE_LOG}", file=sys.stderr)
    return UNREADABLE_IMAGES if report.skipped else 0


if __name__ == "__main__":
    run(main)
