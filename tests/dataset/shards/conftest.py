"""A small data set of images and labels of all kinds, and shards of it."""

from pathlib import Path

import pytest

from dataset.shards.pack import pack
from tests.dataset.disk import Disk

NAMES = ("a/one.png", "a/two.v2.png", "b/three.png", "b/four.png", "five.png")
DATASET = "set"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """Five images with labels; one image is larger than packed labels."""
    disk = Disk(tmp_path_factory.mktemp("plain"))
    for name in NAMES:
        disk.add(name, DATASET, size=(600, 400) if name == "b/four.png" else (40, 30))
        (disk.data / DATASET / name).with_suffix(".txt").write_text(f"a caption of {name}")
    # Nothing here: a file of zero bytes, and of words none at all.
    disk.label("edge", "a/one.png", DATASET).write_bytes(b"")
    disk.label("ocr_detection", "a/one.png", DATASET).unlink()
    disk.write("train.json", [{"image": f"{DATASET}/{name}", "caption": "it"} for name in NAMES])
    return disk


@pytest.fixture(scope="module")
def packed(plain: Disk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in shards of two, labels in the packed form."""
    out = tmp_path_factory.mktemp("packed")
    pack(plain.data, plain.labels, out, dataset=DATASET, shard_size=2)
    return out
