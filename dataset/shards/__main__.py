"""Packs folders into shards and back: `python -m dataset.shards {pack,unpack,index}` (docs/shards.md)."""

import argparse
import sys

from common.cli import UNREADABLE_IMAGES, named_path, natural, run, whole
from common.overwrite import add_flag


def main() -> int:
    """Runs the command."""
    args = _parser().parse_args()
    # Imported here, so that --help is answered at once.
    if args.command == "index":
        from dataset.shards.writer import check_list, write_list

        for folder in args.folders:
            check_list(folder, args.overwrite)
        for folder in args.folders:
            print(f"{folder}: {write_list(folder, args.num_workers, args.overwrite)} records")
        return 0
    common = {"dataset": args.dataset, "num_workers": args.num_workers, "overwrite": args.overwrite}
    label_path = args.label_path or args.data_path / "labels"
    if args.command == "pack":
        from dataset.shards.pack import pack

        experts = args.experts.split(",") if args.experts else None
        options = {"experts": experts, "form": args.labels, "shard_size": args.shard_size}
        results = pack(args.data_path, label_path, args.out, **options, **common)
    else:
        from dataset.shards.unpack import unpack

        results = unpack(args.data_path, label_path, args.out, **common)
    left_out = [f"{path}: {reason}" for result in results for path, reason in result.left_out.items()]
    for result in results:
        kept = f", {result.kept} shards were there" if result.kept else ""
        print(f"{result.name}: {result.records} records, {result.bytes / 1e6:.1f} MB{kept}")
    for line in left_out[:20]:
        print(f"left out: {line}", file=sys.stderr)
    if left_out:
        print(f"{len(left_out)} files were left out", file=sys.stderr)
    return UNREADABLE_IMAGES if left_out else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("pack", "folders into shards"), ("unpack", "shards into folders")):
        command = commands.add_parser(name, help=what)
        command.add_argument(
            "--data_path", type=named_path, required=True, help="holds the data set's folder and lists"
        )
        command.add_argument("--label_path", type=named_path, help="default: labels, below data_path")
        command.add_argument("--dataset", default="", help="the data set's folder below data_path (default: itself)")
        command.add_argument("--out", type=named_path, required=True, help="the folder of the results")
        if name == "pack":
            command.add_argument("--labels", choices=["packed", "png"], default="packed", help="their form")
            command.add_argument("--experts", help="names separated by commas (default: all with labels)")
            command.add_argument("--shard_size", type=natural, default=1000, help="default: %(default)s")
    index = commands.add_parser("index", help="write the index files that reading over HTTP needs")
    index.add_argument("folders", type=named_path, nargs="+")
    for command in commands.choices.values():
        command.add_argument("--num_workers", type=whole, default=2, help="processes (default: %(default)s)")
        add_flag(command)
    return parser


if __name__ == "__main__":
    run(main)
