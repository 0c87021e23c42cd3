"""From samples to the batch that leaves a worker, bytes and small tables; and the loader that starts workers.

Bytes a sample: 3 H² for the image, L² for each label channel (six experts: 8 channels), tables of at most
2 KB (instances) and 64 KB (words). At H = 480 and L = 224 that is 1.1 MB; as 64-channel float maps it
would be 43 MB.
"""

import multiprocessing
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from common.workers import end_with_the_run, starting
from dataset.labels import NO_CLASS
from model.modalities import Kind, modality

_PADDING = {Kind.INSTANCE: NO_CLASS, Kind.WORDS: 0}


class Loader(DataLoader):
    """A `DataLoader` whose workers do not outlive the run (`common/workers.py`)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, worker_init_fn=_begin, **options)

    def __iter__(self) -> Any:
        # A fork server, the default since Python 3.14, imports torch once for all workers.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
        with starting():
            return super().__iter__()


def _begin(_worker: int) -> None:
    end_with_the_run()


def collate(samples: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Stacks samples into a batch.

    Args:
        samples: from an `ImageLabelDataset`; None for an unreadable image.

    Returns:
        None if no sample is left, otherwise: `rgb` uint8 (b, 3, H, H); `labels`, by modality name uint8
        (b, c, L, L); `tables`, by modality name int64 (b, n) padded with -1 for instances, float32
        (b, n, 64) padded with zeros for words; `index` int64 (b,); every other key as a list, into which
        samples' own lists (their captions) are laid end to end.
    """
    present = [sample for sample in samples if sample is not None]
    if not present:
        return None
    batch: dict[str, Any] = {key: [sample[key] for sample in present] for key in present[0]}
    for key, values in batch.items():
        if isinstance(values[0], list):
            batch[key] = list(chain.from_iterable(values))
    batch["rgb"] = torch.stack(batch["rgb"])
    labels, tables = batch["labels"], batch["tables"]
    batch["labels"] = {name: torch.stack([each[name] for each in labels]) for name in labels[0]}
    batch["tables"] = {
        name: pad_sequence([each[name] for each in tables], True, _PADDING[modality(name).kind]) for name in tables[0]
    }
    batch["index"] = torch.tensor(batch["index"])
    return batch
