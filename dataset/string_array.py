"""Names of images: their keys, which join them to labels and captions, and millions of them in one array."""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from common.errors import UserError

_AT_ONCE = 65_536  # names that exist as Python objects during an iteration


def key_of(name: str) -> str:
    """The key that joins an image with its labels and captions: the name without its suffix."""
    return os.path.splitext(name)[0]


def refuse_shared_keys(images: Iterable[str], where: object) -> None:
    """Refuses two images with one key: they would have the same labels. An image may come several times.

    Raises:
        UserError: names both images, and `where`: their folder, shard or list.
    """
    found: dict[str, str] = {}
    for image in images:
        if (other := found.setdefault(key_of(image), image)) != image:
            raise UserError(f"{where}: {other} and {image} would share labels and captions; rename one")


class StringArray(Sequence[str]):
    """Texts in one block of memory, which forked processes share.

    Args:
        texts: or `encoded`.

    Attributes:
        encoded: the texts as bytes, (n,).
    """

    def __init__(self, texts: Iterable[str] | np.ndarray) -> None:
        if not isinstance(texts, np.ndarray):
            texts = np.array([os.fsencode(text) for text in texts] or np.empty(0, "S1"))
        self.encoded = texts

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):  # far faster than one at a time
            yield from map(os.fsdecode, self.encoded[start : start + _AT_ONCE].tolist())

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self.encoded[index])
