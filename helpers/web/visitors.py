"""Who brought which image: one for each visitor of a web page, kept apart and forgotten."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from PIL import Image

from dataset.captions import CaptionDataset
from dataset.samples import ImageConfig
from helpers.inference.captioner import Prediction
from helpers.inference.image_cache import LooseImages

MOST_VISITS = 200  # at once; then the oldest are forgotten


@dataclass
class Visit:
    """An image, its labels, and what was said of it; the files go when nobody holds this any more.

    Attributes:
        picture: RGB.
        captions: found so far.
        seen: the labels so far, as HTML by expert.
    """

    picture: Image.Image
    captions: dict[object, Prediction] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    _images: LooseImages = field(default_factory=LooseImages)

    def __post_init__(self) -> None:
        (self._name,) = self._images.add([self.picture], {})

    @property
    def key(self) -> str:
        """The path of the image's labels below that of each expert."""
        return self._name.removesuffix(".png")

    @property
    def labels(self) -> Path:
        """The folder of its labels."""
        return self._images.labels

    def dataset(self, visual: ImageConfig) -> CaptionDataset:
        """The image as a data set of one."""
        return self._images.dataset([self._name], visual)


class Visits:
    """The visits of a page, by session. A new image replaces its visitor's last one."""

    def __init__(self, most: int = MOST_VISITS) -> None:
        self._most = most
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._lock = Lock()

    def open(self, session: str, picture: Image.Image) -> Visit:
        """Begins one."""
        visit = Visit(picture)
        with self._lock:
            self._visits[session] = visit
            self._visits.move_to_end(session)
            while len(self._visits) > self._most:
                self._visits.popitem(last=False)
        return visit

    def find(self, session: str) -> Visit | None:
        """The visitor's, if there is one."""
        return self._visits.get(session)

    def close(self, session: str) -> None:
        """Forgets it; whoever still works on it may finish."""
        with self._lock:
            self._visits.pop(session, None)
