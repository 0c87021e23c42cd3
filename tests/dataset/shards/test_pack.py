"""Folders into shards and back; training reads the same bits from both."""

import json
import shutil
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dataset.location
from benchmarks.file_server import FileServer
from common.cli import UNREADABLE_IMAGES
from common.errors import UserError
from common.overwrite import Outputs
from dataset.captions import CaptionDataset, CaptionRow
from dataset.labels import LabelReader
from dataset.location import Url
from dataset.samples import ImageFolder
from dataset.shards.__main__ import main
from dataset.shards.pack import copy_files, manifest_to_copy, pack
from dataset.shards.shard_folder import ShardFolder, open_folder
from dataset.shards.unpack import unpack
from dataset.shards.writer import is_shard_of_ours, write_list
from tests.dataset.disk import EXPERTS, Disk, visual_of
from tests.dataset.shards.conftest import DATASET, NAMES


def open_data(disk: Disk, data: Path, labels: Path, **options) -> CaptionDataset:
    rows = [CaptionRow(name, name, (f"a caption of {name}",)) for name in NAMES]
    folder = ImageFolder(data / DATASET, DATASET)
    options = {"training": True} | options
    return CaptionDataset(rows, folder, visual_of(disk, label_path=labels), **options)


def assert_same(found: dict, expected: dict) -> None:
    assert torch.equal(found["rgb"], expected["rgb"])
    for kind in ("labels", "tables"):
        assert found[kind].keys() == expected[kind].keys()
        for name, tensor in expected[kind].items():
            assert torch.equal(found[kind][name], tensor), name


def test_there_and_back(plain: Disk, packed: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in (packed / DATASET).glob("*.tar")) == ["00000.tar", "00001.tar", "00002.tar"]
    unpack(packed, packed / "labels", tmp_path, dataset=DATASET)
    for path in (plain.data / DATASET).rglob("*.*"):
        again = tmp_path / path.relative_to(plain.data)
        assert again.read_bytes() == path.read_bytes()
    assert (tmp_path / "train.json").is_file()
    for expert in EXPERTS:
        for png in (plain.labels / expert).rglob("*.png"):
            again = tmp_path / "labels" / png.relative_to(plain.labels)
            assert (png.stat().st_size == 0) == (again.stat().st_size == 0)
            if png.stat().st_size and "four" not in png.name:
                np.testing.assert_array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(png)))


def test_packed_and_unpacked_labels_give_the_same_tensors(plain: Disk, packed: Path, tmp_path: Path) -> None:
    """Also where the label is smaller than its image."""
    unpack(packed, packed / "labels", tmp_path, dataset=DATASET)
    from_shards = open_data(plain, packed, packed / "labels")
    from_files = open_data(plain, tmp_path, tmp_path / "labels")
    for epoch in range(4):
        for data in (from_shards, from_files):
            data.set_epoch(epoch)
        for index in range(len(NAMES)):
            assert_same(from_shards[index], from_files[index])


def test_labels_that_fit_and_labels_as_png_are_those_of_the_folder(plain: Disk, packed: Path, tmp_path: Path) -> None:
    pack(plain.data, plain.labels, tmp_path, dataset=DATASET, shard_size=2, form="png")
    from_files, as_png = (open_data(plain, plain.data, plain.labels), open_data(plain, tmp_path, tmp_path / "labels"))
    small = open_data(plain, packed, packed / "labels")
    mixed = open_data(plain, plain.data, packed / "labels")  # images as files, labels in shards
    for index, name in enumerate(NAMES):
        assert_same(as_png[index], from_files[index])
        assert_same(mixed[index], small[index])
        if name != "b/four.png":
            assert_same(small[index], from_files[index])


def test_it_goes_on_where_it_stopped(plain: Disk, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(packed, out)
    whole = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.tar")}
    (out / DATASET / "00001.tar").unlink()
    (out / "labels/depth" / DATASET / "00002.tar").unlink()
    (out / DATASET / ".00001.tar.999999.tmp").write_bytes(b"half")  # as a killed one leaves it
    results = pack(plain.data, plain.labels, out, dataset=DATASET, shard_size=2)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.tar")} == whole
    assert {result.name: result.kept for result in results} == {
        "images": 2,
        "depth": 2,
        **{name: 3 for name in EXPERTS if name != "depth"},
    }
    assert [result.records for result in results] == [5, 5, 5, 5, 5, 5, 4]
    assert not list(out.rglob("*.tmp"))
    with pytest.raises(UserError, match="another form"):
        pack(plain.data, plain.labels, out, dataset=DATASET, shard_size=2, form="png")


@pytest.mark.parametrize("size", [1, 3])
def test_what_is_refused_writes_no_shard(plain: Disk, packed: Path, tmp_path: Path, size: int) -> None:
    out = tmp_path / "out"
    shutil.copytree(packed, out)
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    with pytest.raises(UserError, match="other records"):
        pack(plain.data, plain.labels, out, dataset=DATASET, shard_size=size, num_workers=2)
    shutil.copy(out / DATASET / "00001.tar", out / DATASET / "00003.tar")
    with pytest.raises(UserError, match=r"00003.tar: is not one of these"):
        pack(plain.data, plain.labels, out, dataset=DATASET, shard_size=2)
    for path in (out / DATASET).glob("00003.*"):
        path.unlink()
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before


def test_places_that_are_refused(plain: Disk, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot lie in one folder"):
        unpack(packed, packed / "labels", packed, dataset=DATASET)
    (tmp_path / "file").write_text("")
    for write, place in ((pack, plain.data), (unpack, packed)):
        with pytest.raises(UserError, match="is a file"):
            write(place, tmp_path, tmp_path / "file", dataset=DATASET)
        with pytest.raises(UserError, match=r"\.\./set"):
            write(place / DATASET, tmp_path, tmp_path / "out", dataset="../set")


def test_what_is_damaged_is_not_unpacked(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(packed, tmp_path / "p")
    tar = tmp_path / "p" / DATASET / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:600])  # within its first image
    with (tmp_path / "p/labels/depth" / DATASET / "00002.tar").open("r+b") as file:
        file.seek(520)
        file.write(b"\xff" * 30)  # within the only label
    paths = ("--data_path", tmp_path / "p", "--out", tmp_path / "out", "--dataset", DATASET)
    monkeypatch.setattr(sys, "argv", ["shards", "unpack", *map(str, paths)])
    assert main() == UNREADABLE_IMAGES
    printed = capsys.readouterr()
    assert "depth/set/00002.tar/five.webp" in printed.err
    assert "2 files were left out" in printed.err
    assert "images: 3 records" in printed.out
    assert not (tmp_path / "out/labels/depth" / DATASET / "five.png").exists()
    assert (tmp_path / "out/labels/edge" / DATASET / "five.png").is_file()


def test_an_expert_joins_later_and_images_may_be_packed_already(plain: Disk, packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed / DATASET, tmp_path / DATASET)
    before = (tmp_path / DATASET / "00000.tar").read_bytes()
    results = pack(tmp_path, plain.labels, tmp_path, dataset=DATASET, experts=["seg_coco"])
    assert [(result.name, result.records) for result in results] == [("seg_coco", 5)]
    assert (tmp_path / DATASET / "00000.tar").read_bytes() == before
    labels = open_folder(tmp_path / "labels" / "seg_coco" / DATASET)
    assert isinstance(labels, ShardFolder)
    assert labels.shards == ["00000.tar", "00001.tar", "00002.tar"]


def test_labels_that_are_missing_or_damaged_are_named(plain: Disk, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(plain.labels, labels)
    (labels / "depth" / DATASET / "a/one.png").unlink()
    (labels / "normal" / DATASET / "five.png").write_bytes(b"no picture")
    results = pack(plain.data, labels, tmp_path / "out", dataset=DATASET, shard_size=2)
    left_out = {path: reason for result in results for path, reason in result.left_out.items()}
    assert [Path(path).name for path in left_out] == ["one.png", "five.png"]
    assert "missing" in left_out[str(labels / "depth" / DATASET / "a/one.png")]
    assert "damaged" in left_out[str(labels / "normal" / DATASET / "five.png")]


def test_labels_of_other_settings_are_not_mixed(plain: Disk, packed: Path, tmp_path: Path) -> None:
    """The manifests are compared by the expert's settings; a note is none."""
    packed = shutil.copytree(packed, tmp_path / "packed")
    of_tars, unpacked = packed / "labels/depth/manifest.json", tmp_path / "plain/labels"
    setting = {"backend": "dpt", "options": {}, "precision": "float32", "note": "one"}
    of_tars.write_text(json.dumps(setting))
    (unpacked / "depth").mkdir(parents=True)
    there = unpacked / "depth/manifest.json"
    there.write_text(json.dumps(setting | {"options": {"shift": 1}}))
    with pytest.raises(UserError, match="made with other settings"):
        unpack(packed, packed / "labels", tmp_path / "plain", dataset=DATASET)
    there.write_text(json.dumps(setting | {"note": "another"}))
    assert manifest_to_copy(of_tars.parent, there.parent) == {of_tars: there}


def test_a_list_of_other_content_is_kept_and_a_manifest_of_the_same_settings_is_not(tmp_path: Path) -> None:
    sources = [tmp_path / "from" / name for name in ("manifest.json", "train.json")]
    targets = [tmp_path / "to" / source.name for source in sources]
    for path in (*sources, *targets):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'"{path.parent.name}"')
    copy_files({sources[0]: targets[0]}, Outputs("dataset.shards", False))
    assert targets[0].read_bytes() == sources[0].read_bytes()
    with pytest.raises(UserError, match=r"train\.json"):
        copy_files({sources[1]: targets[1]}, Outputs("dataset.shards", False))
    targets[1].write_bytes(sources[1].read_bytes())
    copy_files({sources[1]: targets[1]}, Outputs("dataset.shards", False))


def test_a_file_that_is_no_list_of_shards_is_kept(packed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(packed / DATASET, tmp_path / "tars")
    for theirs in ("[1, 2]", '{"shards": []}', "a note"):
        (folder / "shards.json").write_text(theirs)
        with pytest.raises(UserError, match=r"shards\.json"):
            write_list(folder)
        assert (folder / "shards.json").read_text() == theirs
    write_list(folder, overwrite=True)
    write_list(folder)  # its own


def test_the_command_tells_what_was_there(plain: Disk, tmp_path: Path, monkeypatch, capsys) -> None:
    paths = ("--data_path", plain.data, "--label_path", plain.labels, "--out", tmp_path, "--dataset", DATASET)
    options = ("--experts", "depth", "--shard_size", "2", "--num_workers", "0")
    monkeypatch.setattr(sys, "argv", ["shards", "pack", *map(str, paths), *options])
    for there in ("", ", 3 shards were there"):
        assert main() == 0
        told = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in told] == ["images", "depth"]
        assert all(line.split(" MB")[1] == there for line in told)


@pytest.mark.parametrize("told", [{"mtime": 9}, {"uid": 1000}, {"uname": "them"}])
def test_shards_of_others_are_not_ours(packed: Path, tmp_path: Path, told: dict) -> None:
    ours, theirs, no_tar = packed / DATASET / "00000.tar", tmp_path / "theirs.tar", tmp_path / "no.tar"
    no_tar.write_bytes(b"half a download")
    with tarfile.open(theirs, "w") as tar:
        member = tarfile.TarInfo("a.jpg")
        for key, value in told.items():
            setattr(member, key, value)
        tar.addfile(member)
    assert [is_shard_of_ours(tar) for tar in (ours, theirs, no_tar)] == [True, False, False]


def test_records_that_cannot_be_read_are_skipped_and_counted(
    plain: Disk, packed: Path, tmp_path: Path, caplog
) -> None:
    shutil.copytree(packed, tmp_path / "p")
    tar = tmp_path / "p" / DATASET / "00001.tar"
    tar.write_bytes(b"x" * 3000)  # the shard of a/three and b/four
    labels = tmp_path / "p/labels/depth" / DATASET / "00002.tar"
    with labels.open("r+b") as file:
        file.seek(520)
        file.write(b"\xff" * 30)  # within the only label
    data = open_data(plain, tmp_path / "p", tmp_path / "p/labels", tolerant=True)
    samples = [data[index] for index in range(len(NAMES))]
    assert None not in samples
    assert len(data.skipped) == 3


def test_a_broken_shard_of_one_expert_is_broken(packed: Path, tmp_path: Path) -> None:
    labels = shutil.copytree(packed / "labels", tmp_path / "labels")
    (labels / "edge" / DATASET / "00001.tar").unlink()
    reader = LabelReader(labels, ["depth", "edge"])
    shards = [f"0000{number}.tar" for number in range(3)]
    reader.open_folder(DATASET, shards)
    with pytest.raises(UserError, match=r"edge.*00001\.tar"):
        reader.read(f"{DATASET}/b/three", (40, 30), shards[1])
    assert [reader.is_broken(shard) for shard in shards] == [False, True, False]


@pytest.mark.parametrize("end", ["", ".index"])
def test_a_shard_that_the_server_does_not_give_costs_its_attempts_once(
    plain: Disk, packed: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(dataset.location, "BACK_OFF", 0.001)
    with FileServer(packed) as server:
        address = Url(server.url)
        data = open_data(plain, address, address / "labels", tolerant=True)
        server.faults[f"labels/depth/set/00000.tar{end}"] = [500] * 1000
        for _ in range(3):
            samples = [data[index] for index in range(len(NAMES))]
            assert {sample["index"] for sample in samples} <= set(range(len(NAMES)))
            assert len(data.skipped) == 2
        tried = [path for path, _ in server.requests if path.endswith(f"depth/set/00000.tar{end}")]
        assert len(tried) == dataset.location.ATTEMPTS
        server.faults.clear()
        data.set_epoch(1)
        assert [data[index]["index"] for index in range(len(NAMES))] == list(range(len(NAMES)))


def test_labels_of_a_sample_are_asked_for_together(plain: Disk, packed: Path) -> None:
    with FileServer(packed) as server:
        data = open_data(plain, Url(server.url), Url(server.url) / "labels")
        data[0]  # reads the indices
        server.requests.clear()
        server.together = threading.Barrier(1 + len(EXPERTS), timeout=60)
        sample = data[1]
        assert len(server.requests) == 1 + len(EXPERTS)
    assert_same(sample, open_data(plain, packed, packed / "labels")[1])


def test_an_evaluation_does_not_go_on_without_a_shard(
    plain: Disk, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset.location, "BACK_OFF", 0.001)
    with FileServer(packed) as server:
        data = open_data(plain, Url(server.url), Url(server.url) / "labels", training=False)
        server.faults["/00000.tar"] = [500] * 1000
        for index in range(2):
            with pytest.raises(UserError, match=r"cannot be read"):
                data[index]
        assert data[2] is not None
