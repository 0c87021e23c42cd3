"""The four sources of pre-training, with everything that crawled data sets have wrong with them."""

import logging
from pathlib import Path
from typing import Any

import pytest

import dataset.string_array
from common.errors import UserError
from common.limited_warnings import MOST
from dataset.concat import ConcatDataset
from dataset.loader import collate
from dataset.pretraining import pretraining_dataset
from dataset.string_array import StringArray
from tests.dataset.disk import Disk, visual_of


def add_pair(disk: Disk, source: str, name: str, caption: str | bytes | None) -> Path:
    path = disk.add(f"{name}.jpg", source)
    if caption is not None:
        content = caption if isinstance(caption, bytes) else caption.encode()
        path.with_suffix(".txt").write_bytes(content)
    return path


def open_data(disk: Disk, *sources: str) -> ConcatDataset:
    return pretraining_dataset(dict.fromkeys(sources, disk.data), visual_of(disk, augment=False))


def test_four_sources_are_one_data_set(disk: Disk) -> None:
    add_pair(disk, "cc12m", "00001/000010001", "A  Dog.")
    add_pair(disk, "cc12m", "00000/000000001", "a cat\n")
    add_pair(disk, "cc3m_sgu", "00000/000000001", "a bird")
    coco = "train2014/COCO_train2014_000000000009.jpg"
    disk.add(coco, "vqav2")
    disk.write("coco_karpathy_train.json", [{"image": coco, "caption": "a horse"}])
    disk.add("VG_100K/1.jpg", "vg")
    disk.write("vg_caption.json", [{"image": "VG_100K/1.jpg", "caption": "a cow"}])
    data = open_data(disk, "cc12m", "cc3m_sgu", "coco", "vg")
    batch = collate([data[index] for index in range(len(data))])
    assert batch["caption"] == ["a cat", "a dog", "a bird", "a horse", "a cow"]
    assert batch["index"].tolist() == [0, 1, 2, 3, 4]
    assert data.image_keys()[0] == "cc12m/00000/000000001"


def test_a_pair_brings_its_caption_as_often_as_a_listed_image_brings_its_own(disk: Disk) -> None:
    add_pair(disk, "cc12m", "00000/1", "a cat")
    data = pretraining_dataset({"cc12m": disk.data}, visual_of(disk), prefix="See", captions_per_image=3)
    assert data[0]["caption"] == ["See a cat"] * 3


def test_no_image_has_a_caption(disk: Disk) -> None:
    """As in crawls of other tools: captions have other names than their images."""
    add_pair(disk, "cc12m", "00000/1.input", None).with_name("1.outputs.txt").write_text("a cat")
    with pytest.raises(UserError, match=r"none has its caption beside it, .*1\.input\.txt"):
        open_data(disk, "cc12m")


def test_not_the_first_images_alone_are_looked_at_for_captions(disk: Disk) -> None:
    for name, caption in (("00000/1", None), ("00000/2", None), ("00001/3", "a cat")):
        add_pair(disk, "cc12m", name, caption)
    assert len(open_data(disk, "cc12m")) == 3


def test_warnings_of_a_kind_are_few(disk: Disk, caplog: Any) -> None:
    for number in range(50):
        add_pair(disk, "cc12m", f"{number:03}", "a cat" if number % 10 == 0 else None)
    data = open_data(disk, "cc12m")
    assert [data[index]["caption"] for index in range(50)] == [["a cat"]] * 50
    assert len(data.skipped) == 45
    assert len(caplog.records) == MOST + 1
    assert "further warnings of this kind are left out: skipped a sample: ..." in caplog.text


def test_a_photo_and_its_mask_would_share_a_caption(disk: Disk) -> None:
    add_pair(disk, "cc12m", "00000/1", "a cat")
    disk.add("00000/1.png", "cc12m")
    with pytest.raises(UserError, match=r"cc12m: 00000/1\.jpg and 00000/1\.png would share labels and captions"):
        open_data(disk, "cc12m")


def test_broken_samples_are_skipped_and_counted(disk: Disk, caplog: Any) -> None:
    whole = add_pair(disk, "cc12m", "00000/1", "whole")
    add_pair(disk, "cc12m", "00000/2", " \n")
    add_pair(disk, "cc12m", "00000/3", b"\xff\xfe not utf-8")
    add_pair(disk, "cc12m", "00000/4", None)
    cut = add_pair(disk, "cc12m", "00000/5", "cut")
    cut.write_bytes(cut.read_bytes()[:300])
    add_pair(disk, "cc12m", "00000/6", "no label")
    disk.label("depth", "00000/6.jpg", "cc12m").unlink()
    coco = ["train2014/COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000000010.jpg"]
    disk.add(coco[0], "vqav2")
    disk.write("coco_karpathy_train.json", [{"image": image, "caption": "listed"} for image in coco])

    data = open_data(disk, "cc12m", "coco")
    with caplog.at_level(logging.WARNING):
        captions = [data[index]["caption"][0] for index in range(len(data))]
    assert captions == ["whole"] * 6 + ["listed"] * 2  # each is replaced from its own source
    assert data.unreadable.tolist() == [1, 2, 3, 4, 5, 7]
    resumed = open_data(disk, "cc12m", "coco")
    resumed.recall_unreadable(data.unreadable)
    assert resumed.skipped == data.skipped
    reasons = " ".join(record.getMessage() for record in caplog.records)
    for reason in (
        "2.txt: it has no words",
        "3.txt, line 1: not UTF-8",
        "4.txt: No such file",
        "5.jpg",
        "6.png is missing",
    ):
        assert reason in reasons
    assert "000000000010.jpg: No such file" in reasons

    whole.write_bytes(b"")
    with pytest.raises(UserError, match="no sample of the list can be read"):
        open_data(disk, "cc12m")[0]


def test_missing_folders_are_named(disk: Disk) -> None:
    with pytest.raises(UserError, match=r"image folder .*cc12m is missing"):
        open_data(disk, "cc12m")
    (disk.data / "cc12m" / "00000").mkdir(parents=True)
    with pytest.raises(UserError, match=r"image folder .*cc12m has no images"):
        open_data(disk, "cc12m")


def test_names_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset.string_array, "_AT_ONCE", 2)
    names = ["00000/000000001.jpg", "ünïcode/a b.png", "x", "y", "z"]
    kept = StringArray(names)
    assert list(kept) == [kept[index] for index in range(len(kept))] == names


def test_a_mix_has_its_shares_and_augments_a_sample_anew_when_it_comes_again(disk: Disk) -> None:
    for name in ("000000000", "000000001", "000000002"):
        add_pair(disk, "cc12m", f"00000/{name}", "a cat")
    add_pair(disk, "cc3m_sgu", "00000/000000000", "a bird")
    paths = dict.fromkeys(("cc12m", "cc3m_sgu"), disk.data)
    weights = {"cc3m_sgu": 1.0, "cc12m": 3.0}
    data = pretraining_dataset(paths, visual_of(disk), weights=weights, samples_per_epoch=8)
    assert data.epoch_length == 8
    samples = [data[index] for index in data.order(seed=0)(0).tolist()]
    assert sorted(sample["index"] for sample in samples) == [0, 0, 1, 1, 2, 2, 3, 3]
    first, second = (sample["rgb"] for sample in samples if sample["index"] == 3)
    assert not first.equal(second)
    again = [data[index]["rgb"] for index in data.order(seed=0)(0).tolist()]
    assert all(one["rgb"].equal(other) for one, other in zip(samples, again, strict=True))
    with pytest.raises(UserError, match="'weights' must have those"):
        pretraining_dataset(paths, visual_of(disk), weights={"cc12m": 1.0})
    as_many = pretraining_dataset(paths, visual_of(disk), samples_per_epoch=2)
    assert len(as_many.order(seed=0)(0)) == 2
