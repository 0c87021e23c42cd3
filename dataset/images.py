"""Reading images, and saying which of two things is wrong when that fails."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from dataset.shards.folder import IMAGES as SUFFIXES
from dataset.shards.folder import ShardFile
from model.errors import UserError, one_line

ImageSource = Path | ShardFile | bytes | BinaryIO | Image.Image
_TURNS = {  # what a viewer does, by the orientation tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE = {_TURNS[6]: _TURNS[8], _TURNS[8]: _TURNS[6]}  # the others are their own
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # Pillow's modes that become RGB only through another
_BITS = 258  # TIFF's tag BitsPerSample


class UnreadableImage(Exception):
    """The file is there but is not a whole image; data sets skip it."""

    def __init__(self, path: Path | ShardFile | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class MissingImage(UserError):
    """A file that is named is not there, or may not be read."""

    def __init__(self, path: Path | ShardFile | str, reason: str) -> None:
        super().__init__(f"image {path}: {reason}; check data_path and the list")
        self.reason = reason


def read_image(source: ImageSource, *, upright: bool = False) -> Image.Image:
    """Reads the pixels of an image as RGB: all code that looks at an image gets them from here.

    An image is read as it is stored: an orientation tag does not turn it, since its labels are drawn on the
    stored pixels. Transparency is dropped, and of an animation the first frame is read. Grey levels of more
    than 8 bits keep their upper 8 (`_grey_levels`).

    Args:
        source: a file, its content, an open file, or a Pillow image. A TIFF in memory that Pillow has loaded
            before stays as Pillow turned it: the tag is gone.
        upright: turn it by its orientation tag, as viewers do.

    Raises:
        MissingImage: there is no such file, or it may not be read.
        UnreadableImage: it is empty, truncated, no image, or its values are no shades of grey.
    """
    name = source if isinstance(source, Path | ShardFile) else "in memory"
    try:
        with _opened(source) as image:
            return _stored_pixels(image, upright)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise MissingImage(name, error.strerror) from None
    except UnidentifiedImageError:
        raise UnreadableImage(name, "cannot identify it as an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(name, one_line(error)) from None


def stored_size(file: Path | ShardFile) -> tuple[int, int]:
    """Width and height of what `read_image` gives, from the file's header.

    Raises:
        OSError, SyntaxError, ValueError: there is no such file, or it is no image.
    """
    with _opened(file) as image:
        if isinstance(image, TiffImageFile):  # whose `size` is that after turning
            return image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
        return image.size


def turned_when_shown(path: Path) -> bool:
    """Whether viewers turn an image by its orientation tag, unlike `read_image`; False if unreadable."""
    try:
        with _opened(path) as image:
            return _orientation(image) in _TURNS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


@contextmanager
def _opened(source: ImageSource) -> Iterator[Image.Image]:
    if isinstance(source, Image.Image):
        yield source  # which stays open: it is the caller's
    elif isinstance(source, Path | ShardFile):
        with source.open("rb") as file, Image.open(file) as image:
            yield image
    else:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            yield image


def _stored_pixels(image: Image.Image, upright: bool) -> Image.Image:
    is_tiff = isinstance(image, TiffImageFile)
    orientation = _orientation(image) if upright or is_tiff else 1
    image.load()
    # Pillow turns a TIFF when it loads it, and takes the tag away.
    is_turned = is_tiff and orientation != _orientation(image)
    pixels = _as_rgb(image)
    turn = _TURNS.get(orientation)
    if turn is None or is_turned == upright:
        return pixels
    return pixels.transpose(turn if upright else _INVERSE.get(turn, turn))


def _orientation(image: Image.Image) -> int:
    """What the image's orientation tag says; 1, upright, if its EXIF cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types, and the pixels may be whole
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_grey_levels(image))
    elif image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    return image.convert("RGB")


def _grey_levels(image: Image.Image) -> np.ndarray:
    """Grey levels of more than 8 bits as 8, uint8 (h, w).

    The upper 8 of 16 bits are kept. Pixels of 32 bits have no agreed white. Theirs is the first of 255,
    65535 and 2147483647, or for fractions of 1, 255 and 65535, that no value exceeds.

    Raises:
        ValueError: a value is negative, larger, or no number.
    """
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        whites = (2**8 - 1, 2**16 - 1, 2**31 - 1)
    elif image.mode == "F":
        whites = (1, 2**8 - 1, 2**16 - 1)
    else:
        (bits, *_) = tags.get(_BITS, (16,))
        whites = (2**bits - 1,)
    low, high = values.min(), values.max()
    white = next((white for white in whites if low >= 0 and high <= white), None)
    if white is None:
        raise ValueError(f"values from {low} to {high} are no shades of grey; save it with 8 or 16 bits")
    if image.mode == "F":
        levels = (values * (255 / white)).round().astype(np.uint8)
    else:
        levels = (values >> (white.bit_length() - 8)).astype(np.uint8)
    # Pillow heeds this tag in images of 8 bits alone.
    zero_is_white = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    return 255 - levels if zero_is_white else levels


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
