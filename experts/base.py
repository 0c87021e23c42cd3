"""The interface of an expert, which turns images into labels in three steps that can overlap.

A backend is a module that `experts/registry.py` names. It has

- `Options`: a frozen dataclass with `__pydantic_config__ = STRICT`, the options in a config;
- `files(modalities, options, weights)`: the files that it reads, which are checked before a run starts;
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

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # by precision


@dataclass(frozen=True)
class NoOptions:
    """The `Options` of a backend without any."""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class RuntimeConfig:
    """The device and dtype of a network (float32 on a CPU), and the folder of the released weight files."""

    device: torch.device
    weights: Path
    dtype: torch.dtype = torch.float32

    @property
    def precision(self) -> str:
        """The name of `dtype`: `fp32`, `bf16` or `fp16`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    def autocast(self) -> torch.autocast:
        """Computes in `dtype`, but keeps the weights: batch norms' statistics may be too large for float16."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


@dataclass(frozen=True)
class Target:
    """An image to be labelled.

    Attributes:
        size: its height and width.
        key: path of its labels below `<save_path>/<expert>/`, without suffix.
        save_path: the label folder, with the labels of earlier experts.
        folder, shard: where labels are packed, the folder of the data set and the name of the image's shard.
    """

    size: tuple[int, int]
    key: str = ""
    save_path: Path = Path()
    folder: str = ""
    shard: str | None = None


@dataclass(frozen=True)
class Label:
    """The label of an image for one modality, at the image's size.

    Attributes:
        map: uint8, (h, w) or (h, w, 3); None means that there is nothing to label, as in an image without text.
        instances: for instance maps, the class index of each id in the map.
        words: for word maps, the word of each id in the map.
    """

    map: np.ndarray | None
    instances: dict[int, int] | None = None
    words: dict[int, Word] | None = None


class Expert(Protocol):
    """A network that labels one or more modalities.

    Attributes:
        prepare: an RGB image -> the network's input. It runs in the workers, so it must pickle and hold no network.
    """

    prepare: Callable[[Image.Image], Tensor]

    def predict(self, inputs: list[Tensor]) -> list[Any]:
        """Runs the network: an output on the CPU for each image, which does not depend on the other images."""
        ...

    def decode(self, raw: Any, target: Target) -> dict[str, Label]:
        """Turns the output for an image into a label for each modality. It runs in the writers' threads."""
        ...
