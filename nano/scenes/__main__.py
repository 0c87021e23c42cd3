"""Writes the Scenes data set, its class tables or the demo images."""

import argparse
import os

from common.cli import named_path, run
from common.errors import UserError
from common.overwrite import Outputs, add_flag

RANGES = {"train": (0, 1_000_000), "test": (0, 1_000_000), "size": (64, 1024), "workers": (1, 256), "seed": (0, 2**63)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m nano.scenes", description=__doc__)
    parser.add_argument("--out", type=named_path, metavar="DIR", help="write a data set into this folder")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="number of training scenes")
    parser.add_argument("--test", type=int, default=0, metavar="M", help="number of test scenes")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (0)")
    parser.add_argument("--size", type=int, default=192, metavar="PX", help="long side of the images (192)")
    parser.add_argument("--workers", type=int, default=2, metavar="W", help="processes (2)")
    parser.add_argument(
        "--classes",
        action="store_true",
        help="one solid a scene, in ImageNet's layout; N and M are of each of the 32 classes",
    )
    parser.add_argument("--no-labels", action="store_true", help="leave out the exact labels")
    parser.add_argument("--tables", type=named_path, metavar="DIR", help="write the class embeddings into this folder")
    parser.add_argument("--demo", type=named_path, metavar="DIR", help="write six demo images into this folder")
    add_flag(parser)
    options = parser.parse_args(arguments)
    for name, (low, high) in RANGES.items():
        if not low <= getattr(options, name) <= high:
            raise UserError(f"--{name} {getattr(options, name)} is out of range; give {low} to {high}")
    if not (options.out or options.tables or options.demo):
        raise UserError("nothing to do; give --out DIR, --tables DIR or --demo DIR")
    if options.out and options.train + options.test == 0:
        raise UserError(f"no scenes asked for in {options.out}; give --train N or --test M")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers are the parallelism

    # Imported here, so that --help and a mistyped flag are answered at once.
    from common.files import write_bytes
    from nano.scenes import dataset_files
    from nano.scenes.vocabulary import class_tables

    outputs = Outputs("nano.scenes", options.overwrite, "name another folder")
    files = class_tables(options.tables) if options.tables else {}
    files |= dataset_files.demo_images(options.demo) if options.demo else {}
    outputs.check(files, known=lambda path: path.read_bytes() == files[path])
    for path, content in files.items():
        with outputs.writing(path):
            write_bytes(path, content)
        print(f"wrote {path}")
    if options.out:
        wanted = dataset_files.Options(options.out, options.seed, options.size, not options.no_labels, outputs)
        write_all = dataset_files.write_classes if options.classes else dataset_files.write_data
        write_all(wanted, options.train, options.test, options.workers)
        each = " of each class" if options.classes else ""
        print(f"{options.train} training and {options.test} test scenes{each} in {options.out}")


if __name__ == "__main__":
    run(main)
