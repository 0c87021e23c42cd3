"""Reading images; an image that cannot be read is missing or unreadable."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from common.errors import UserError, one_line
from common.files import open_file
from common.limited_warnings import LimitedWarnings
from dataset.labels import MANIFEST
from dataset.shards.shard_folder import IMAGES as SUFFIXES
from dataset.shards.shard_folder import ShardFile, is_image
from dataset.string_array import key_of, refuse_shared_keys
from model.modalities import MODALITIES

logger = LimitedWarnings(__name__)
ImageSource = Path | ShardFile | bytes | BinaryIO | Image.Image
_TURNS = {  # by a viewer, for each orientation tag
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
_LONGEST_STEM = 255 - len(".json")  # bytes that a file system gives a name; labels are named like the image


class _WithReason:
    """An exception with its `reason`: the message without the path."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class UnreadableImage(_WithReason, Exception):
    """The file is not a whole image; data sets skip it."""


class MissingImage(_WithReason, UserError):
    """The file does not exist, or may not be read."""


def read_image(source: ImageSource, *, upright: bool = False) -> Image.Image:
    """Reads the pixels of an image as RGB. All code that looks at an image gets them from here.

    An image is read as it is stored: an orientation tag does not turn it, since its labels are drawn on the
    stored pixels. Transparency is dropped, and of an animation the first frame is read. Of 16 bits the upper 8
    are kept; docs/data.md tells about more.

    Args:
        source: a file, its content, an open file, or a Pillow image. A TIFF that Pillow has loaded before stays
            as Pillow turned it: its tag is gone.
        upright: turn it by its orientation tag, as viewers do.

    Raises:
        MissingImage: there is no such file, or it may not be read.
        UnreadableImage: it is empty, truncated, no image, or its values are no shades of grey.
    """
    with _opened(source) as image:
        is_tiff = isinstance(image, TiffImageFile)
        orientation = _orientation(image) if upright or is_tiff else 1
        image.load()
        # Pillow turns a TIFF when it loads it, and takes the tag away.
        is_turned = is_tiff and orientation != _orientation(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            pixels = Image.fromarray(_grey_levels(image)).convert("RGB")
        elif image.mode in _PREMULTIPLIED:
            pixels = image.convert(_PREMULTIPLIED[image.mode]).convert("RGB")
        else:
            pixels = image.convert("RGB")
        turn = _TURNS.get(orientation)
        if turn is None or is_turned == upright:
            return pixels
        return pixels.transpose(turn if upright else _INVERSE.get(turn, turn))


def stored_size(file: Path | ShardFile) -> tuple[int, int]:
    """Width and height of the pixels that `read_image` gives, from the file's header; errors as there."""
    with _opened(file) as image:
        if isinstance(image, TiffImageFile):  # its `size` is the one after turning
            return image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
        return image.size


def turned_when_shown(path: Path) -> bool:
    """Whether viewers turn an image by its orientation tag, unlike `read_image`; False if unreadable."""
    try:
        with _opened(path) as image:
            return _orientation(image) in _TURNS
    except (MissingImage, UnreadableImage):
        return False


@contextmanager
def _opened(source: ImageSource) -> Iterator[Image.Image]:
    """An open image. Any exception, also during its use, becomes one of our two."""
    name = source if isinstance(source, Path | ShardFile) else "in memory"
    try:
        if isinstance(source, Image.Image):
            yield source  # the caller closes it
            return
        with ExitStack() as stack:
            if isinstance(source, Path | ShardFile):
                source = stack.enter_context(open_file(source) if isinstance(source, Path) else source.open())
            image = stack.enter_context(Image.open(io.BytesIO(source) if isinstance(source, bytes) else source))
            if image.format == "EPS":
                raise ValueError("PostScript is a program and is not run")
            yield image
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror
        raise MissingImage(f"image {name}: {reason}; check data_path and the list", reason) from None
    except Exception as error:  # decoders raise anything
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # too many files are open; this one is not at fault
        reason = getattr(error, "strerror", None) or one_line(error)
        if isinstance(error, UnidentifiedImageError):  # its text has an address in memory
            reason = "cannot identify it as an image"
        raise UnreadableImage(f"{name}: {reason}", reason) from None


def _orientation(image: Image.Image) -> int:
    """The image's orientation tag; 1, upright, if its EXIF cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types, and the pixels may be whole
        return 1


def _grey_levels(image: Image.Image) -> np.ndarray:
    """Grey levels of more than 8 bits as 8, uint8 (h, w).

    The upper 8 of 16 bits are kept. Pixels of 32 bits have no agreed white: it is the first of 255, 65535 and
    2147483647, or for fractions of 1, 255 and 65535, that no value exceeds. Other values are a `ValueError`.
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
    # Pillow obeys this tag only in images of 8 bits.
    zero_is_white = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    return 255 - levels if zero_is_white else levels


def list_images(folder: Path, leave_out: Path | None = None) -> list[str]:
    """All images below a folder, as sorted paths relative to it.

    Args:
        folder: searched with its subfolders; names that begin with a dot are left out.
        leave_out: a folder inside it without images of the data set, such as labels.

    Raises:
        UserError: no such folder, no image in it, or two images whose labels would have the same name.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "is missing"
        raise UserError(f"image folder {folder} {problem}; check its name")
    found = []
    for relative in sorted(image_paths(folder, leave_out)):
        if len(os.fsencode(os.path.basename(key_of(relative)))) > _LONGEST_STEM:
            logger.warning("skipped %s/%s: its name is too long for its labels; rename it", folder, relative)
        else:
            found.append(relative)
    if not found:
        raise UserError(f"image folder {folder} has no images ({', '.join(SUFFIXES)})")
    refuse_shared_keys(found, folder)
    return found


def image_paths(folder: Path, leave_out: Path | None = None) -> Iterator[str]:
    """Paths of all images, relative to the folder, in no order.

    Links to folders are followed, as data sets often are links; those to a folder around them are not. Folders of
    labels are left out, which a warning says.
    """
    excluded = leave_out and os.path.abspath(leave_out)

    def is_meant(parent: str, name: str) -> bool:
        path = os.path.join(parent, name)
        if name.startswith(".") or os.path.abspath(path) == excluded:
            return False
        around = os.path.islink(path) and Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(path))
        return not around

    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if is_meant(parent, name)]
        if labels := [name for name in folders if is_label_folder(Path(parent, name), folder)]:
            _warn_of_labels(parent, ", ".join(sorted(labels)))
            folders[:] = [name for name in folders if name not in labels]
        # Texts, not `Path`s: there may be millions.
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        start = "" if below == "." else f"{below}/"
        for name in files:
            if is_image(name) and not name.startswith("."):
                yield start + name


def is_label_folder(path: Path, root: Path) -> bool:
    """Whether a folder lies below `root` and holds an expert's labels.

    Such a folder has the expert's name, and a manifest, or, as in Scenes, a parent named `labels`.
    """
    if path.name not in MODALITIES or root not in path.parents:
        return False
    return (path.parent.name == "labels" and path.parent != root) or (path / MANIFEST).is_file()


@cache
def _warn_of_labels(folder: str, names: str) -> None:
    """Says once, however often the images are listed, that a folder's labels are left out."""
    logger.warning("left out, labels of experts and no images: %s in %s", names, folder)
