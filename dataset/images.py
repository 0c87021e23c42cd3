"""Reading images, and saying which of two things is wrong when that fails."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from dataset.shards.folder import IMAGES as SUFFIXES
from dataset.shards.folder import ShardFile
from model.errors import UserError, one_line


class UnreadableImage(Exception):
    """The file is there but is not a whole image; data sets skip it."""

    def __init__(self, path: Path | ShardFile, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class MissingImage(UserError):
    """A file that is named is not there, or may not be read."""

    def __init__(self, path: Path | ShardFile, reason: str) -> None:
        super().__init__(f"image {path}: {reason}; check data_path and the list")
        self.reason = reason


def read_image(path: Path | ShardFile) -> Image.Image:
    """Reads an image as RGB, without turning it by its EXIF tag: labels are made the same way.

    Grey images of 16 bits keep their upper 8; transparency is dropped.

    Raises:
        MissingImage: there is no such file, or it may not be read.
        UnreadableImage: it is empty, truncated or no image.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            if image.mode == "I" or image.mode.startswith("I;16"):
                upper = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255)
                image = Image.fromarray(upper.astype(np.uint8))
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise MissingImage(path, error.strerror) from None
    except UnidentifiedImageError:
        raise UnreadableImage(path, "cannot identify it as an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(path, one_line(error)) from None


def turned_when_shown(path: Path) -> bool:
    """Whether viewers turn an image by its EXIF tag, which `read_image` does not; False if unreadable."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def list_images(folder: Path, leave_out: Path | None = None) -> list[str]:
    """All images below a folder, as sorted paths relative to it.

    Args:
        folder: searched with its subfolders; names that begin with a dot are left out.
        leave_out: a folder inside it whose images are not meant, such as labels.

    Raises:
        UserError: no such folder, no image in it, or two images whose labels would have the same name.
    """
    if not folder.is_dir():
        raise UserError(f"image folder {folder} is missing; check data_path")
    found: dict[str, str] = {}  # path without suffix -> path
    for relative in sorted(image_paths(folder, leave_out)):
        stem = os.path.splitext(relative)[0]
        if stem in found:
            raise UserError(f"{folder}: {found[stem]} and {relative} would share labels; rename one")
        found[stem] = relative
    if not found:
        raise UserError(f"image folder {folder} has no images ({', '.join(SUFFIXES)})")
    return list(found.values())


def is_image(name: str) -> bool:
    """Whether a name is that of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def image_paths(folder: Path, leave_out: Path | None = None) -> Iterator[str]:
    """Paths of all images, relative to the folder, in no order.

    Links to folders are followed, as data sets often are links.
    """
    excluded = leave_out and os.path.abspath(leave_out)
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.abspath(os.path.join(parent, name)) != excluded
        ]
        # Texts, not `Path`s: there may be millions.
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        start = "" if below == "." else f"{below}/"
        for name in files:
            if is_image(name) and not name.startswith("."):
                yield start + name
