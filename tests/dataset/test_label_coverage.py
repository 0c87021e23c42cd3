"""How many images have labels is said before training, and an expert without any stops it."""

from pathlib import Path

import pytest

from common.errors import UserError
from dataset.label_coverage import label_coverage
from dataset.shards.pack import pack
from tests.dataset.disk import Disk
from tests.dataset.test_captions import add_custom, open_data

ALL = "depth 6, normal 6, seg_coco 6, edge 6, obj_detection 6, ocr_detection 6"


def test_every_expert_is_counted(disk: Disk) -> None:
    names = add_custom(disk)
    train = open_data(disk, train_list="list.json")
    assert str(label_coverage(train)) == f"labels of 6 images: {ALL}"
    disk.label("edge", names[1]).write_bytes(b"")  # the expert had nothing to say, but it was asked
    disk.label("depth", names[2]).unlink()
    disk.label("depth", names[5]).unlink()
    with pytest.raises(UserError, match=r"label .*depth.* is missing: 2 of 6 images have no depth label; run experts"):
        label_coverage(train)
    crawl = open_data(disk, train_list="list.json", tolerant=True)
    assert str(label_coverage(crawl)) == f"labels of 6 images: {ALL.replace('depth 6', 'depth 4')}"
    for name in names:
        disk.label("depth", name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"labels/depth: no label of 6 images .*run experts/generate_depth\.py"):
        label_coverage(train)


def test_of_a_large_list_some_are_looked_at(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    add_custom(disk, 7)
    monkeypatch.setattr("dataset.label_coverage._LOOKED_AT", 3)
    train = open_data(disk, train_list="list.json", experts=["depth"])
    assert str(label_coverage(train)) == "labels of 3 images that were looked at: depth 3"


@pytest.mark.parametrize("labels", ["packed/labels", "labels"])
def test_shards(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str) -> None:
    """Images in shards; their labels too, or in files."""
    names = add_custom(disk)
    disk.label("depth", names[0]).unlink()
    pack(disk.data, disk.labels, tmp_path / "packed", shard_size=1)
    options = {"train_list": disk.data / "list.json", "data_path": tmp_path / "packed", "tolerant": True}
    train = open_data(disk, label_path=tmp_path / labels, **options)
    assert str(label_coverage(train)) == f"labels of 6 images: {ALL.replace('depth 6', 'depth 5')}"
    monkeypatch.setattr("dataset.label_coverage._SHARDS", 2)
    assert "labels of 2 images that were looked at: depth 1, normal 2" in str(label_coverage(train))


def test_images_without_text_are_not_images_without_labels_of_text(disk: Disk) -> None:
    names = add_custom(disk)
    disk.add("another.jpg", "other")
    for name in names:
        disk.label("ocr_detection", name).unlink()
        disk.label("ocr_detection", name).with_suffix(".json").unlink()
    train = open_data(disk, train_list="list.json")
    assert str(label_coverage(train)).endswith("ocr_detection 0")
    manifest = disk.labels / "ocr_detection" / "manifest.json"
    manifest.write_text('{"made_elsewhere": 0}')  # as a killed run leaves it
    for _ in range(2):
        train = open_data(disk, train_list="list.json")
        with pytest.raises(UserError, match=r"labels/ocr_detection: no label .*generate_ocrdet\.py, or take"):
            label_coverage(train)
        manifest.unlink(missing_ok=True)
        disk.label("ocr_detection", "another.jpg", "other").unlink(missing_ok=True)  # the folder has no label


def test_a_model_without_experts_has_nothing_to_count(disk: Disk) -> None:
    add_custom(disk)
    assert label_coverage(open_data(disk, train_list="list.json", experts=[])).labelled == {}
