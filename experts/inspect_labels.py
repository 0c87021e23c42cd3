"""Lists the state of a data set's labels: their number, those that are missing or damaged, their classes.

    python -m experts.inspect_labels                                      # those of configs/experts.yaml
    python -m experts.inspect_labels --config configs/experts_nano.yaml   # those of the demo images

Exit code 1: a label is missing, damaged or has values without a meaning. Exit code 3: all labels are whole, but
some images cannot be read.
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from common.cli import UNREADABLE_IMAGES, named_path, run, whole
from common.files import ROOT
from common.overwrite import Outputs, add_flag
from dataset.location import as_location

if TYPE_CHECKING:
    from experts.inspection import ExpertReport, Inspection

INCOMPLETE = 1
_SHOWN = 5  # entries of a list; the report has all
_CLASSES_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "configs" / "experts.yaml"
    parser.add_argument("--config", type=named_path, default=default, help="YAML file (default: %(default)s)")
    parser.add_argument("--data_path", type=as_location, help="instead of the config's")
    parser.add_argument("--save_path", "--label_path", type=named_path, help="instead of the config's")
    parser.add_argument("--datasets", nargs="+", help="instead of the config's; all: the whole data_path")
    parser.add_argument("--experts", help="names separated by commas (default: those that have labels)")
    parser.add_argument(
        "--class_tables",
        type=named_path,
        help="folder of class names; without it, classes are numbers, and any is valid",
    )
    parser.add_argument("--report", type=named_path, help="JSON file for the whole report")
    parser.add_argument("--num_workers", type=whole, default=2, help="processes (default: %(default)s)")
    add_flag(parser)
    args = parser.parse_args()
    outputs = Outputs("experts.inspect_labels", args.overwrite, "name another file with --report")
    if args.report:
        outputs.check([args.report])

    from dataclasses import asdict

    from common.errors import UserError
    from common.files import write_json
    from common.yaml_config import read_config
    from dataset.class_tables import read_class_tables
    from experts.generate import GenerateConfig
    from experts.inspection import inspect
    from model.modalities import MODALITIES, modality

    config = read_config(args.config, GenerateConfig)
    save_path = args.save_path or config.save_path
    datasets = config.datasets if args.datasets is None else args.datasets
    there = [name for name in MODALITIES if (save_path / name).is_dir()]
    experts = args.experts.split(",") if args.experts else there
    if not experts:
        raise UserError(f"label folder {save_path} has no expert's labels; name yours with --save_path or --config")
    tables = {name: modality(name).classes for name in experts}
    names = {}
    if args.class_tables is not None:
        labels = read_class_tables(args.class_tables, [table for table in tables.values() if table]).labels
        names = {name: labels[table] for name, table in tables.items() if table}
    found = inspect(
        args.data_path or config.data_path,
        save_path,
        experts,
        names,
        [] if datasets == ["all"] else datasets,
        args.num_workers,
    )
    if args.report:
        with outputs.writing(args.report):
            write_json(args.report, asdict(found), indent=2)
    print(_as_text(found))
    if not all(report.is_whole for report in found.experts.values()):
        return INCOMPLETE
    return UNREADABLE_IMAGES if found.unreadable else 0


def _as_text(found: "Inspection") -> str:
    columns = ("expert", "labels", "coverage", "empty", "flat", "missing", "damaged", "unexpected", "stray")
    rows = [columns]
    for name, report in found.experts.items():
        share = report.labels / found.images if found.images else 0
        lists = (report.missing, report.damaged, report.unexpected, report.stray)
        numbers = (report.labels, f"{share:.1%}", report.empty, report.flat, *map(len, lists))
        rows.append((name, *map(str, numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    lines = [f"{found.images} images, {len(found.unreadable)} unreadable"]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)))
    for name, report in found.experts.items():
        lines += _details(name, report)
    return "\n".join([*lines, *_some("unreadable", found.unreadable)])


def _details(name: str, report: "ExpertReport") -> list[str]:
    lines = ["", f"{name} (made with: {report.made_with})"]
    for title in ("missing", "damaged", "unexpected", "stray"):
        lines += _some(title, getattr(report, title))
    if report.classes:
        ordered = sorted(report.classes.items(), key=lambda item: -item[1])
        most = ", ".join(f"{name} {count}" for name, count in ordered[:_CLASSES_SHOWN])
        lines.append(f"  {len(report.classes)} classes or texts: {most}")
    return lines


def _some(title: str, found: Iterable[str] | Mapping[str, str]) -> list[str]:
    """The first entries, a line each, with the reason if there is one."""
    names = list(found)
    reasons = found if isinstance(found, Mapping) else {}
    lines = [f"  {title} {name}" + (f": {reasons[name]}" if name in reasons else "") for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        lines.append(f"  {title}: {len(names) - _SHOWN} more")
    return lines


if __name__ == "__main__":
    run(main)
