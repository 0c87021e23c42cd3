"""Lists the state of a data set's labels: their number, those that are missing or damaged, their classes.

    python -m experts.inspect_labels --data_path data --label_path data/labels --datasets vqav2

Exit code 1: a label is missing, damaged or has values without a meaning.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import named_path, run, whole
from common.overwrite import Outputs, add_flag

if TYPE_CHECKING:
    from experts.inspection import ExpertReport, Inspection

INCOMPLETE = 1
_SHOWN = 5  # entries of a list; the report has all
_CLASSES_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=named_path, default=Path("data"), help="default: %(default)s")
    parser.add_argument("--label_path", type=named_path, default=Path("data/labels"), help="default: %(default)s")
    parser.add_argument("--datasets", nargs="+", default=[], help="folders below data_path (default: all)")
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
    from dataset.class_tables import read_class_tables
    from experts.inspection import inspect
    from model.modalities import MODALITIES, modality

    there = [name for name in MODALITIES if (args.label_path / name).is_dir()]
    experts = args.experts.split(",") if args.experts else there
    if not experts:
        raise UserError(f"label folder {args.label_path} has no expert's labels; check label_path")
    tables = {name: modality(name).classes for name in experts}
    names = {}
    if args.class_tables is not None:
        labels = read_class_tables(args.class_tables, [table for table in tables.values() if table]).labels
        names = {name: labels[table] for name, table in tables.items() if table}
    found = inspect(args.data_path, args.label_path, experts, names, args.datasets, args.num_workers)
    if args.report:
        with outputs.writing(args.report):
            write_json(args.report, asdict(found), indent=2)
    print(_as_text(found))
    return 0 if all(report.is_whole for report in found.experts.values()) else INCOMPLETE


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
