"""Keys and values kept between the steps of generation and ranking.

All texts of one image (its beams, its candidate answers) form one sequence, and a mask says which tokens
belong to which text. So an image's keys are never copied to its beams, and a beam that is dropped or doubled
changes a row of the mask, not the cache.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


class LayerCache:
    """Keys and values of one decoder layer: the text's so far, and the image's."""

    def __init__(self) -> None:
        self._text: tuple[Tensor, Tensor] | None = None
        self._image: tuple[Tensor, Tensor] | None = None
        self._at: Tensor | None = None  # where new tokens go, once room is reserved

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the text's new keys and values (b, heads, l, d / heads); returns all so far."""
        if self._at is not None:
            for room, new in zip(self._text, (keys, values), strict=True):
                room.index_copy_(2, self._at, new)
            return self._text
        if self._text is not None:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(self._text, (keys, values), strict=True))
        self._text = keys, values
        return keys, values

    def crop(self, length: int) -> None:
        """Forgets the text's tokens from `length` on."""
        self._text = tuple(kept[:, :, :length] for kept in self._text)

    def reserve(self, length: int, at: Tensor) -> None:
        """Reserves room for `length` tokens; new ones go to the places `at`, int64 (l,)."""
        self._text = tuple(F.pad(kept, (0, 0, 0, length - kept.shape[2])) for kept in self._text)
        self._at = at

    def tensors(self) -> list[Tensor]:
        """All keys and values."""
        return [*self._text, *(self._image or ())]

    def context(
        self, keys_values: Callable[[Tensor], tuple[Tensor, Tensor]], encoded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The image's keys and values (b, heads, n, d / heads), computed on the first call only."""
        if self._image is None:
            self._image = keys_values(encoded)
        return self._image
