"""Millions of names without millions of objects."""

import os
from collections.abc import Iterable, Sequence

import numpy as np


class Names(Sequence[str]):
    """Names in one block of memory, which processes share as it is.

    Attributes:
        encoded: as bytes, (n,).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.encoded = np.array([os.fsencode(name) for name in names] or np.empty(0, "S1"))

    @classmethod
    def of(cls, encoded: np.ndarray) -> "Names":
        """Names from their bytes."""
        names = cls(())
        names.encoded = encoded
        return names

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self.encoded[index])
