"""Images of any kind, copied into a folder and labelled there."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from common.errors import UserError
from common.files import here_or_in_project, write_atomically
from dataset.captions import CaptionDataset, CaptionRow
from dataset.images import ImageSource, MissingImage, UnreadableImage, read_image
from dataset.samples import ImageConfig, ImageFolder
from experts.registry import Backends
from experts.runner import WEIGHTS, generate_labels

AnyImage = str | ImageSource
Images = AnyImage | Sequence[AnyImage] | Iterator[AnyImage]


class ImageCache:
    """A folder of image copies and their labels; equal pictures share one copy.

    Args:
        folder: kept for the next run; None: a temporary one, deleted with this object.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = TemporaryDirectory() if folder is None else None
        root = folder or Path(self._temporary.name)
        self.images, self.labels = root / "images", root / "labels"

    def add(self, images: Sequence[AnyImage], backends: Backends) -> list[str]:
        """Copies images, labels the new ones, and returns the names of the copies.

        Args:
            images: files, or images in memory.
            backends: the network of each expert.

        Raises:
            UserError: an image cannot be read or labelled.
        """
        names = [self._copy(_read(image)) for image in images]
        if names and backends:
            weights = here_or_in_project(WEIGHTS)
            report = generate_labels(self.images, self.labels, backends, weights=weights, num_workers=0)
            for name in names:
                if reason := report.failed.get(str(self.images / name)):
                    raise UserError("; ".join([f"an image cannot be labelled: {reason}", *report.notes]))
        return names

    def dataset(self, names: Sequence[str], visual: ImageConfig) -> CaptionDataset:
        """A data set of some of the images, in this order."""
        rows = [CaptionRow(name, name, ()) for name in names]
        return CaptionDataset(rows, ImageFolder(self.images, ""), visual)

    def _copy(self, picture: Image.Image) -> str:
        content = repr(picture.size).encode() + picture.tobytes()
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.png"
        if not (self.images / name).is_file():
            write_atomically(self.images / name, lambda path: picture.save(path, "PNG", compress_level=1))
        return name


def is_one(images: Images) -> bool:
    """Whether this is a single image."""
    return isinstance(images, AnyImage) or hasattr(images, "read")


def _read(image: AnyImage) -> Image.Image:
    if not is_one(image):
        kind = type(image).__name__
        raise UserError(f"a {kind} is no image; give a file's name, its content, or a Pillow image")
    try:
        return read_image(Path(image) if isinstance(image, str) else image)
    except MissingImage as error:
        raise UserError(f"image {image}: {error.reason}; check its name") from None
    except UnreadableImage as error:
        raise UserError(f"image {error}; leave it out or replace it") from None
