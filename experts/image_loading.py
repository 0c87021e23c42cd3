"""Images on their way to a network: read and prepared in other processes, a batch ahead."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from torch.utils.data import Dataset

from common.errors import UserError
from dataset.images import UnreadableImage, read_image
from experts.shard_labelling import Items

T = TypeVar("T")


@dataclass
class Loaded:
    """An image as it leaves a loader's process: the network's input, or why there is none.

    The input is an array, since a tensor would take an open file each, of which a process has few.
    """

    index: int
    size: tuple[int, int] = (0, 0)
    input: np.ndarray | None = None
    reason: str = ""


class Images(Dataset):
    """Reads and prepares the images of a pass, in a loader's processes.

    Args:
        items: the images.
        prepare: of the expert.
    """

    def __init__(self, items: Items, prepare: Callable) -> None:
        self.items = items
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Loaded:
        try:
            pixels = read_image(self.items[index].file)
        except UnreadableImage as error:
            return Loaded(index, reason=error.reason)
        except UserError as error:  # it may not be read, or was there when the folder was listed
            return Loaded(index, reason=str(error))
        return Loaded(index, (pixels.height, pixels.width), self.prepare(pixels).numpy())


def batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of so many; the last may be shorter."""
    while batch := list(islice(items, size)):
        yield batch


def one_ahead(batches: Iterator[T]) -> Iterator[T]:
    """Fetches the next batch in a thread: pixels come through a narrow pipe, while the network runs."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch
