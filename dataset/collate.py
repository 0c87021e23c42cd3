"""From samples to the batch that leaves a worker: bytes and small tables.

Bytes a sample: 3 H² for the image, L² for each label channel (six experts: 8 channels), tables of at most
2 KB (instances) and 64 KB (words). At H = 480 and L = 224 that is 1.1 MB; as 64-channel float maps it
would be 43 MB.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dataset.labels import NO_CLASS
from model.modalities import Kind, modality

_PADDING = {Kind.INSTANCE: NO_CLASS, Kind.WORDS: 0}


def collate(samples: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Stacks samples into a batch.

    Args:
        samples: from an `ImageLabelDataset`; None for an image that could not be decoded.

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
    batch["labels"] = {name: torch.stack(labels) for name, labels in _by_name(batch["labels"])}
    batch["tables"] = {
        name: pad_sequence(tables, batch_first=True, padding_value=_PADDING[modality(name).kind])
        for name, tables in _by_name(batch["tables"])
    }
    batch["index"] = torch.tensor(batch["index"])
    return batch


def _by_name(samples: list[dict[str, Tensor]]) -> list[tuple[str, list[Tensor]]]:
    return [(name, [sample[name] for sample in samples]) for name in samples[0]]
