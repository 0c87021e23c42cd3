"""Draws what the experts saw: one picture an image, with its labels and its caption.

python demo.py      # captions the images in helpers/images, leaves the labels in helpers/labels
python demo_vis.py  # draws helpers/pictures/<image>.png; needs no window
"""

import argparse
import sys
from pathlib import Path

from helpers.cli import UNREADABLE_IMAGES, run


def main() -> int:
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
    return draw(parser.parse_args())


def draw(args: argparse.Namespace) -> int:
    """Draws each image below `args.images`; one that cannot be read is named and left out."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from dataset.captions import demo_label_folder
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

    label_folder = demo_label_folder(args.images)
    code = 0
    for name in list_images(args.images, leave_out=args.labels):
        path = args.images / name
        try:
            image = read_image(path)
        except UnreadableImage as error:
            print(f"skipped, not readable as an image: {error}", file=sys.stderr)
            code = UNREADABLE_IMAGES
            continue
        text = path.with_suffix(".txt")
        caption = (
            " ".join(text.read_text(encoding="utf-8", errors="replace").split()) if text.is_file() else ""
        )
        stem = Path(name).with_suffix("").as_posix()
        key = f"{label_folder}/{stem}"
        picture = args.out / f"{stem}.png"
        save_picture(draw_picture(image, key, args.labels, experts, tables, caption or None), picture)
        print(picture)
    return code


if __name__ == "__main__":
    run(main)
