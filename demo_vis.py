"""Draws each image with its labels, its caption and its attribution, and a report of all images.

    python demo.py --attribution   # writes captions, labels and attribution of the images in helpers/images
    python demo_vis.py             # draws them into helpers/pictures; needs no window
    python demo_vis.py --only depth,edge --columns 3

It writes `<out>/<image>.png`, `<out>/contact_sheet.png`, and `<out>/report.html`, a single file that opens in
any browser without a network. All flags: docs/demo.md.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import UNREADABLE_IMAGES, named_path, natural, printable, run
from common.errors import UserError
from common.overwrite import Outputs, add_flag

if TYPE_CHECKING:
    from helpers.inference.attribution_file import AttributedText
    from model.attribution import Attribution

ATTRIBUTION = Path("helpers/attribution")
SHEET, REPORT = "contact_sheet", "report.html"
SHEET_ROWS = 12  # of a contact sheet; more rows go on the next sheet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=named_path, default=Path("helpers/images"), help="default: %(default)s")
    parser.add_argument("--labels", type=named_path, default=Path("helpers/labels"), help="default: %(default)s")
    parser.add_argument(
        "--attribution",
        type=named_path,
        help=f"folder of demo.py --attribution (default: {ATTRIBUTION})",
    )
    parser.add_argument("--out", type=named_path, default=Path("helpers/pictures"), help="default: %(default)s")
    parser.add_argument("--only", help="experts to draw, separated by commas (default: all that have labels)")
    parser.add_argument("--columns", type=natural, default=4, help="pictures in a row, at most (default: %(default)s)")
    parser.add_argument(
        "--class_tables",
        type=named_path,
        help="folder with the names of classes (default: those of the networks that made the labels)",
    )
    add_flag(parser)
    args = parser.parse_args()
    if args.attribution is not None and not args.attribution.is_dir():
        raise UserError(f"attribution folder {args.attribution} is missing; write it with demo.py --attribution")
    args.attribution = args.attribution or ATTRIBUTION
    return draw(args)


def draw(args: argparse.Namespace) -> int:
    """Draws each image below `args.images`; names and skips unreadable images."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from dataset.captions import demo_label_folder
    from dataset.class_tables import read_class_tables
    from dataset.images import MissingImage, UnreadableImage, list_images, read_image
    from experts.dataset_images import ImageFile
    from experts.image_hashes import ImageHashes
    from helpers.figures.image_page import draw_figure, draw_sheet, save_picture, thumbnail
    from helpers.figures.label_pictures import draw_panels, experts_in, label_names
    from helpers.figures.report import Report
    from helpers.inference.attribution_file import attribution_file, read_attribution

    if not args.images.is_dir():
        raise UserError(f"image folder {args.images} is missing; name yours with --images")
    if args.out.resolve().is_relative_to(args.images.resolve()):
        raise UserError(f"--out {args.out} lies among the images; name another folder")
    experts = experts_in(args.labels)
    if not experts:
        raise UserError(f"label folder {args.labels} has no labels; run demo.py, or name yours with --labels")
    if args.only is not None:
        there, wanted = {entry.name: entry for entry in experts}, args.only.split(",")
        if missing := [name for name in wanted if name not in there]:
            raise UserError(f"--only: there are no labels of '{missing[0]}'; there are: {', '.join(there)}")
        experts = [entry for entry in experts if entry.name in wanted]
    if args.class_tables:
        tables = read_class_tables(args.class_tables, [entry.classes for entry in experts if entry.classes])
    else:
        tables = label_names(args.labels, experts)
    images = list_images(args.images, leave_out=args.labels)
    folder = demo_label_folder(args.images)
    keys = {name: f"{folder}/{Path(name).with_suffix('').as_posix()}" for name in images}
    hashes = ImageHashes([ImageFile(f"{args.images}/{name}", key) for name, key in keys.items()], args.labels)
    if changed := hashes.changed:
        raise UserError(f"{changed[0].path}: its labels are those of another image; label it with demo.py")
    pictures = {name: args.out / f"{Path(name).with_suffix('').as_posix()}.png" for name in images}
    sheets = [
        args.out / f"{SHEET}{'' if number == 1 else f'_{number}'}.png"
        for number in range(1, -(-len(images) // (SHEET_ROWS * args.columns)) + 1)
    ]
    if alike := [name for name, picture in pictures.items() if picture in sheets]:
        raise UserError(f"image {args.images / alike[0]}: its picture would have the name of a sheet; rename it")
    outputs = Outputs("demo_vis.py", args.overwrite, "name another folder with --out")
    outputs.check([*pictures.values(), *sheets, args.out / REPORT])
    code, sheet = 0, []
    with Report(args.columns) as report:
        for place, name in enumerate(images, start=1):
            try:
                image = read_image(args.images / name)
            except (UnreadableImage, MissingImage) as error:
                reason = f"{printable(name)}: {error.reason}"
                print(f"skipped, not readable as an image: {reason}", file=sys.stderr)
                code = UNREADABLE_IMAGES
            else:
                found = read_attribution(attribution_file(args.attribution, keys[name]))
                text, attribution = text_and_attribution(args.images / name, found)
                panels = draw_panels(image, keys[name], args.labels, experts, tables)
                with outputs.writing(pictures[name]):
                    save_picture(draw_figure(panels, name, text, args.columns, attribution), pictures[name])
                print(printable(str(pictures[name])))
                sheet.append((name, text, thumbnail(image)))
                report.add(*sheet[-1], panels, attribution)
            if sheet and (len(sheet) == SHEET_ROWS * args.columns or place == len(images)):
                path = sheets.pop(0)
                with outputs.writing(path):
                    save_picture(draw_sheet(sheet, args.columns), path)
                print(path)
                sheet = []
        with outputs.writing(args.out / REPORT):
            report.write(args.out / REPORT, f"What the experts saw in {args.images}")
        print(args.out / REPORT)
    return code


def text_and_attribution(image: Path, found: "AttributedText | None") -> "tuple[str | None, Attribution | None]":
    """The text of an image and its attribution, if there is one.

    The text is the caption in the text file beside the image, or that of the attribution's file: an answer,
    or a caption that was written as JSON alone.
    """
    file = image.with_suffix(".txt")
    text = " ".join(file.read_text(encoding="utf-8", errors="replace").split()) if file.is_file() else None
    if found is None:
        return text or None, None
    if found.question is not None:
        return f"{found.question} {found.text}", found.attribution
    if text and text != found.text:
        print(f"{printable(str(image))}: the attribution is of another caption, and left out", file=sys.stderr)
        return text, None
    return found.text, found.attribution


if __name__ == "__main__":
    run(main)
