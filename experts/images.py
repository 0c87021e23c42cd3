"""The images of a data set, and the name of each one's labels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from model.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class ImageFile(NamedTuple):
    """An image and its labels' path below `<save_path>/<expert>/`, without suffix."""

    path: Path
    label: str


def list_images(
    data_path: Path, datasets: Sequence[str] = (), prefix: str = "", exclude: Path | None = None
) -> list[ImageFile]:
    """Lists the images below a folder, sorted; hidden files and folders are passed over.

    Args:
        data_path: labels mirror the images' paths below it.
        datasets: the folders below `data_path` to look into; none means all of it.
        prefix: put before the labels' paths.
        exclude: a folder not to look into.

    Raises:
        UserError: a folder that is not there, no image at all, or two images that would share a label.
    """
    found: dict[str, Path] = {}
    for folder in [data_path / dataset for dataset in datasets] or [data_path]:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such image folder; check data_path and datasets")
        for path in _image_paths(folder, exclude):
            label = (Path(prefix) / path.relative_to(data_path).with_suffix("")).as_posix()
            if label in found and found[label] != path:
                raise UserError(f"{found[label]} and {path} would share one label: rename one of them")
            found[label] = path
    if not found:
        searched = ", ".join(datasets) or "nothing else"
        raise UserError(f"{data_path}: no image found ({searched}); suffixes: {', '.join(sorted(SUFFIXES))}")
    return [ImageFile(found[label], label) for label in sorted(found)]


def _image_paths(folder: Path, exclude: Path | None) -> list[Path]:
    excluded = exclude and os.path.abspath(exclude)
    paths = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.abspath(os.path.join(parent, name)) != excluded
        ]
        paths += [
            Path(parent, name)
            for name in files
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
        ]
    return paths


def read_image(path: Path) -> Image.Image:
    """Reads an image as RGB, not turned by its EXIF tag; grey images of 16 bits keep their upper 8.

    Raises:
        ValueError: it cannot be read; the message is the reason.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "I" or image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
