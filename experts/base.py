"""What an expert is: it turns images into labels, in three steps that can overlap."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from dataset.words import Word


@dataclass(frozen=True)
class Label:
    """One modality's label of one image, at the image's size.

    Attributes:
        map: uint8, (h, w) or (h, w, 3); None says that there is nothing to label (no word was found).
        instances: for instance maps, the class index of each id in the map.
        words: for word maps, the word of each id in the map.
    """

    map: np.ndarray | None
    instances: dict[int, int] | None = None
    words: dict[int, Word] | None = None


class Expert(Protocol):
    """A network that labels one or more modalities.

    Attributes:
        prepare: turns an RGB image into the network's input. It runs in the loader's processes, so it
            is something that pickles and holds no network.
    """

    prepare: Callable[[Image.Image], Tensor]

    def predict(self, inputs: list[Tensor]) -> list[Any]:
        """Runs the network on prepared images, which may differ in size.

        Returns:
            Raw outputs on the CPU, one per image, which do not depend on the other images.
        """
        ...

    def decode(self, raw: Any, size: tuple[int, int]) -> dict[str, Label]:
        """Turns the raw output of an image into its labels; runs in the writers' threads.

        Args:
            raw: what `predict` returned for the image.
            size: the image's height and width.

        Returns:
            A label for each modality that the expert was loaded for.
        """
        ...
