"""Writes expert labels for a data set: `python experts/generate.py`, or with `accelerate launch`.

What, where and with which networks stands in configs/experts.yaml. `generate_<expert>.py` beside this
file are the same for one expert each. Exit code 3 says that some images could not be read or labelled, 2
that something is to be mended first, which is said in a line.
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
from dataset.location import Location, as_place
from experts.registry import Backends, check_names
from model.modalities import MODALITIES, Kind

SEGMENTATIONS = tuple(name for name, modality in MODALITIES.items() if modality.kind is Kind.SEMANTIC)


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """`configs/experts.yaml`.

    Attributes:
        data_path: the folder that holds the data-set folders, of images or of shards, or its address.
        save_path: the label folder.
        datasets: folders below `data_path` to label; an empty list means all.
        backends: for each expert, the network that makes its labels.
        weights_path: the folder of the released weight files.
        precision: of the networks; `auto` is bf16 on a GPU that has it, else fp32.
        batch_size: images a network sees at once, per process.
        num_workers: processes that read images, per process.
        num_writers: threads that write labels, per process.
    """

    __pydantic_config__ = STRICT
    data_path: Location
    save_path: Path
    datasets: list[str] = field(default_factory=list)
    backends: Backends
    weights_path: Path = Path("experts/expert_weights")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch_size: PositiveInt = 16
    num_workers: Workers = 2
    num_writers: Annotated[int, Field(ge=1, le=1024)] = 4


def main(experts: Collection[str] | None = None) -> int:
    """Runs the command.

    Args:
        experts: only these, of those in the config; None lets `--experts` choose.

    Returns:
        The exit code.
    """
    args = _parser(choose=experts is None).parse_args()
    config = read_config(args.config, GenerateConfig)
    wanted = experts if experts is not None else _chosen(args.experts, config, args.config)
    backends = {name: backend for name, backend in config.backends.items() if name in wanted}
    if not backends:
        raise UserError(f"{args.config}: key 'backends' names no network for {' or '.join(wanted)}")
    check_names(backends)

    from experts.runner import UNREADABLE_LOG, generate_labels  # torch takes seconds

    save_path = args.save_path or config.save_path
    report = generate_labels(
        args.data_path or config.data_path,
        save_path,
        backends,
        datasets=config.datasets if args.datasets is None else _named(args.datasets),
        weights=config.weights_path,
        precision=config.precision,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        num_writers=config.num_writers,
        overwrite=args.overwrite,
    )
    from accelerate import PartialState

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


def _parser(choose: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Writes expert labels for the images of a data set.")
    parser.add_argument(
        "--config",
        type=named_path,
        default=ROOT / "configs" / "experts.yaml",
        help="YAML file (default: %(default)s)",
    )
    if choose:
        parser.add_argument("--experts", default="all", help="names separated by commas (default: all)")
    parser.add_argument("--data_path", type=as_place, help="instead of the config's")
    parser.add_argument("--save_path", type=named_path, help="instead of the config's")
    parser.add_argument("--datasets", nargs="+", help="instead of the config's; all: the whole data_path")
    parser.add_argument("--overwrite", action="store_true", help="make labels that exist again")
    return parser


def _named(datasets: list[str]) -> list[str]:
    return [] if datasets == ["all"] else datasets


def _chosen(names: str, config: GenerateConfig, path: Path) -> list[str]:
    if names == "all":
        return list(config.backends)
    chosen = names.split(",")
    for name in chosen:
        if name not in config.backends:
            known = ", ".join(config.backends)
            raise UserError(f"{path}: key 'backends' has no expert '{name}'; it has: {known}")
    return chosen


if __name__ == "__main__":
    run(main)
