"""The images of the web demo's visitors: checked before they are decoded, kept apart, and forgotten."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError

from common.errors import UserError
from dataset.captions import CaptionDataset
from dataset.images import read_image
from dataset.samples import ImageConfig
from helpers.inference.captioner import Prediction
from helpers.inference.image_cache import ImageCache

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # Pillow decodes them itself; EPS would start a program
LONG_SIDE = 1024  # pixels; models and experts see less of an image anyway
MOST_VISITS = 200  # at once; then the oldest are forgotten


def read_upload(path: Path, max_pixels: int) -> Image.Image:
    """Reads an image as RGB, turned upright, its long side at most `LONG_SIDE`.

    Args:
        path: the file, under any name.
        max_pixels: the most that is decoded. A file of a few kilobytes can claim billions.

    Raises:
        UserError: the file is damaged, too large, or in none of the `FORMATS`; the message is for its sender.
    """
    limit = f"{max_pixels / 1e6:.3g} megapixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
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


@dataclass
class Visit:
    """An image with its labels and captions; its files are deleted with the last reference.

    Attributes:
        picture: RGB.
        captions: found so far.
        seen: the labels so far, as HTML by expert.
    """

    picture: Image.Image
    captions: dict[object, Prediction] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    _images: ImageCache = field(default_factory=ImageCache)

    def __post_init__(self) -> None:
        (self._name,) = self._images.add([self.picture], {})

    @property
    def key(self) -> str:
        """The path of the image's labels below the folder of each expert."""
        return self._name.removesuffix(".png")

    @property
    def labels(self) -> Path:
        """The label folder."""
        return self._images.labels

    def dataset(self, visual: ImageConfig) -> CaptionDataset:
        """The image as a data set of one."""
        return self._images.dataset([self._name], visual)


class Visits:
    """The visits by session. A visitor's new image replaces the last one."""

    def __init__(self, most: int = MOST_VISITS) -> None:
        self._most = most
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._lock = Lock()

    def open(self, session: str, picture: Image.Image) -> Visit:
        """Starts a visit."""
        visit = Visit(picture)
        with self._lock:
            self._visits[session] = visit
            self._visits.move_to_end(session)
            while len(self._visits) > self._most:
                self._visits.popitem(last=False)
        return visit

    def find(self, session: str) -> Visit | None:
        """The visit of a session, if there is one."""
        return self._visits.get(session)

    def close(self, session: str) -> None:
        """Forgets the visit; a caller that still holds it may finish."""
        with self._lock:
            self._visits.pop(session, None)
