"""What an expert is: it turns images into labels, in three steps that can overlap.

A backend is a module with three things, named in `experts/registry.py`:

- `Options`: a frozen dataclass with `__pydantic_config__ = STRICT`, what a config may set for it;
- `files(modalities, options, weights)`: the files it reads, checked before anything starts;
- `load(modalities, options, setting)`: the `Expert`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.validation import STRICT
from dataset.label_files import Word


@dataclass(frozen=True)
class NoOptions:
    """The `Options` of a backend in which there is nothing to set."""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a network runs.

    Attributes:
        device: of the network.
        weights: folder of the released weight files.
        dtype: of the network's weights and activations, float32 on a CPU.
    """

    device: torch.device
    weights: Path
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Target:
    """An image that is to be labelled.

    Attributes:
        size: its height and width.
        key: its labels' path below `<save_path>/<expert>/`, without suffix.
        save_path: the label folder, where an expert may read what an earlier one saw.
        folder: the data set's folder within that of each expert, where labels are packed.
        shard: the name of the shard that it is in, where labels are packed.
    """

    size: tuple[int, int]
    key: str = ""
    save_path: Path = Path()
    folder: str = ""
    shard: str | None = None


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

    def decode(self, raw: Any, target: Target) -> dict[str, Label]:
        """Turns the raw output of an image into its labels; runs in the writers' threads.

        Args:
            raw: what `predict` returned for the image.
            target: the image.

        Returns:
            A label for each modality that the expert was loaded for.
        """
        ...
