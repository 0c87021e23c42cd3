"""Class tables in both formats."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from dataset.class_tables import class_names, read_class_tables
from model.modalities import EMBEDDING_DIM

FEATURES = np.random.default_rng(0).random((2, EMBEDDING_DIM), dtype=np.float32)


def write_arrays(folder: Path) -> None:
    np.savez(folder / "coco.npz", labels=np.array(["cat", "dog"]), features=FEATURES)
    np.savez(folder / "background.npz", features=FEATURES[0])


def test_arrays(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    tables = read_class_tables(tmp_path, ["coco", "coco"])
    assert tables.labels == {"coco": ["cat", "dog"]}
    np.testing.assert_array_equal(tables.features["coco"], FEATURES)
    np.testing.assert_array_equal(tables.background, FEATURES[0])


def test_released_files(tmp_path: Path) -> None:
    features = torch.from_numpy(FEATURES)
    torch.save({"labels": ["cat", "dog"], "features": features}, tmp_path / "coco_features.pt")
    torch.save(features[0], tmp_path / "background_features.pt")
    tables = read_class_tables(str(tmp_path), ["coco"])
    assert tables.labels == {"coco": ["cat", "dog"]}
    np.testing.assert_array_equal(tables.features["coco"], FEATURES)
    np.testing.assert_array_equal(tables.background, FEATURES[0])


def test_missing(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    with pytest.raises(UserError, match=r"ade\.npz \(or ade_features\.pt\) is missing.*download_checkpoints\.py"):
        read_class_tables(tmp_path, ["ade"])


@pytest.mark.parametrize(
    "content",
    [
        {"labels": ["cat"], "features": FEATURES},
        {"labels": ["cat", "dog"], "features": FEATURES[:, :9]},
        {"features": FEATURES},
        {"labels": ["cat"], "features": ["x"]},
        {"labels": ["cat", "dog"], "features": FEATURES * np.float32("nan")},
        {"labels": ["cat", "dog"], "features": FEATURES * np.float32("inf")},
        {"labels": ["cat", "dog"], "features": FEATURES * np.float64(1e300)},
        {"labels": ["cat", "dog"], "features": FEATURES * 1j},
        {"labels": "cat", "features": FEATURES},
    ],
    ids=["rows", "columns", "no labels", "no numbers", "NaN", "infinite", "too large", "complex", "a name"],
)
def test_malformed(tmp_path: Path, content: dict) -> None:
    write_arrays(tmp_path)
    np.savez(tmp_path / "coco.npz", **content)
    with pytest.raises(UserError, match=r"coco\.npz"):
        read_class_tables(tmp_path, ["coco"])


@pytest.mark.parametrize(
    ("table", "count", "first", "last"), [("coco", 133, "person", "rug"), ("ade", 150, "wall", "flag")]
)
def test_tables_of_the_released_models(table, count, first, last):
    names = class_names(table)
    assert len(set(names)) == len(names) == count
    assert (names[0], names[-1]) == (first, last)
