"""Images that strangers send: checked before they are decoded, made upright, shrunk."""

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from common.errors import UserError
from dataset.images import read_image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # what Pillow itself decodes; EPS would start a program
LONG_SIDE = 1024  # pixels; models and experts see less of an image anyway


def read_upload(path: Path, max_pixels: int) -> Image.Image:
    """Reads an image as RGB, turned upright, its long side at most `LONG_SIDE`.

    Args:
        path: the file; its name is not looked at.
        max_pixels: what is decoded at most. A file of a few kilobytes can claim billions.

    Raises:
        UserError: it is not one of the `FORMATS`, damaged, or too large; says so to whoever sent it.
    """
    limit = f"{max_pixels / 1e6:.3g} megapixels"
    try:
        with warnings.catch_warnings():  # of sizes that we check ourselves
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:  # reads the header alone
                width, height = image.size
                if width * height > max_pixels:
                    raise UserError(f"This image is too large: {width} x {height} pixels, the limit is {limit}.")
                picture = read_image(image, upright=True)
    except Image.DecompressionBombError:
        raise UserError(f"This image is too large: the limit is {limit}.") from None
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"This file is not an image that can be read here ({', '.join(FORMATS)}).") from None
    except Exception:  # decoders raise anything
        raise UserError("This image is damaged: it cannot be decoded.") from None
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return picture
