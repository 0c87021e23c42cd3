"""Batches."""

import torch

from dataset.loader import collate
from model.modalities import EMBEDDING_DIM


def sample(index: int, instances: int, words: int) -> dict:
    return {
        "rgb": torch.full((3, 4, 4), index, dtype=torch.uint8),
        "labels": {"obj_detection": torch.zeros(1, 2, 2, dtype=torch.uint8)},
        "tables": {"obj_detection": torch.arange(instances), "ocr_detection": torch.ones(words, EMBEDDING_DIM)},
        "index": index,
        "caption": f"caption {index}",
    }


def test_tables_are_padded() -> None:
    batch = collate([sample(0, 1, 2), sample(1, 3, 1)])
    assert (batch["rgb"].shape, batch["rgb"].dtype) == ((2, 3, 4, 4), torch.uint8)
    assert batch["labels"]["obj_detection"].shape == (2, 1, 2, 2)
    assert batch["tables"]["obj_detection"].tolist() == [[0, -1, -1], [0, 1, 2]]
    assert batch["tables"]["ocr_detection"][..., 0].tolist() == [[1, 1], [1, 0]]
    assert batch["index"].tolist() == [0, 1]
    assert batch["caption"] == ["caption 0", "caption 1"]


def test_unreadable_samples_are_dropped() -> None:
    batch = collate([None, sample(4, 1, 1), None])
    assert batch["index"].tolist() == [4]
    assert collate([None, None]) is None
