"""Draws what the experts saw: one picture an image, with its labels and its caption.

python demo.py      # captions the images in helpers/images, leaves the labels in helpers/labels
python demo_vis.py  # draws helpers/pictures/<image>.png; needs no window
"""

import argparse
import sys
from pathlib import Path

from helpers.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("helpers/images"), help="default: %(default)s")
    parser.add_argument("--labels", type=Path, default=Path("helpers/labels"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("helpers/pictures"), help="default: %(default)s")
    parser.add_argument(
        "--class_tables",
        type=Path,
        default=Path("nano/tables"),
        help="folder with the names of the experts' classes (default: %(default)s)",
    )
    draw(parser.parse_args())


def draw(args: argparse.Namespace) -> None:
    """Draws each image below `args.images`; one that cannot be read is named and left out."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from dataset.class_tables import read_class_tables
    from dataset.images import UnreadableImage, list_images, read_image
    from helpers.pictures import draw_picture, experts_in, save_picture
    from model.errors import UserError

    if not args.images.is_dir():
        raise UserError(f"image folder {args.images} is missing; name yours with --images")
    if args.out.resolve().is_relative_to(args.images.resolve()):
        raise UserError(f"--out {args.out} lies among the images; name another folder")
    experts = experts_in(args.labels)
    if not experts:
        raise UserError(f"label folder {args.labels} has no labels; run demo.py, or name yours with --labels")
    tables = read_class_tables(args.class_tables, [expert.classes for expert in experts if expert.classes])

    drawn = 0
    for name in list_images(args.images, leave_out=args.labels):
        path = args.images / name
        try:
            image = read_image(path)
        except UnreadableImage as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        text = path.with_suffix(".txt")
        caption = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
        key = Path(name).with_suffix("").as_posix()
        picture = args.out / f"{key}.png"
        save_picture(draw_picture(image, key, args.labels, experts, tables, caption or None), picture)
        print(picture)
        drawn += 1
    if not drawn:
        raise UserError(f"image folder {args.images} has no image that can be read")


if __name__ == "__main__":
    run(main)
