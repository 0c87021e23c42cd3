"""Shards of images get shards of labels: on disk, over HTTP, several data sets, killed and gone on with."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.file_server import FileServer
from common.errors import UserError
from dataset.labels import LabelReader
from dataset.shards.pack import pack
from dataset.shards.tar_index import index_of, keys
from dataset.shards.writer import write_list, write_shard
from experts.runner import generate_labels
from tests.experts.conftest import Grey

BACKENDS = {"depth": "grey", "obj_detection": "grey", "ocr_detection": "grey"}
SHARDS = ("00000", "00001", "00002")


@pytest.fixture
def packed(scenes: Path, tmp_path: Path) -> Path:
    """The six scenes in three shards, and one with text alone."""
    data = tmp_path / "data"
    pack(scenes, scenes / "none", data / "web", experts=[], shard_size=2)
    write_shard(data / "web" / "00003.tar", {"only.txt": b"text"}.items())
    write_list(data / "web")
    return data


def tars(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.tar")}


def test_labels_are_those_of_loose_images(scenes: Path, packed: Path, tmp_path: Path, grey: Grey) -> None:
    report = generate_labels(packed, tmp_path / "labels", BACKENDS, num_workers=2, batch_size=4)
    assert (report.images, report.labelled, report.unreadable) == (6, 6, {})
    generate_labels(scenes, tmp_path / "loose", BACKENDS, num_workers=0)
    from_shards = LabelReader(tmp_path / "labels", list(BACKENDS))
    from_shards.open_folder("web", [f"{shard}.tar" for shard in (*SHARDS, "00003")])
    from_files = LabelReader(tmp_path / "loose", list(BACKENDS))
    for shard in SHARDS:
        for key in keys(index_of(packed / "web" / f"{shard}.tar").names):
            size = Image.open(next(scenes.glob(f"{key}.*"))).size
            found, tables = from_shards.read(f"web/{key}", size, f"{shard}.tar")
            expected, expected_tables = from_files.read(key, size)
            for expert in BACKENDS:
                np.testing.assert_array_equal(np.asarray(found[expert]), np.asarray(expected[expert]))
            for expert in ("obj_detection", "ocr_detection"):
                assert tables[expert].equal(expected_tables[expert])


def test_labels_below_the_images_are_no_images(packed: Path, grey: Grey, monkeypatch) -> None:
    """Also where one path is relative and the other is not."""
    monkeypatch.chdir(packed)
    for data, labels in ((Path(), packed / "labels"), (packed, Path("labels"))):
        report = generate_labels(data, labels, {"depth": "grey"}, num_workers=0)
        assert report.images == 6


def test_over_http_the_same_bytes(packed: Path, tmp_path: Path, grey: Grey) -> None:
    generate_labels(packed, tmp_path / "disk", BACKENDS, datasets=["web"], num_workers=0)
    with FileServer(packed) as server:
        generate_labels(server.url, tmp_path / "http", BACKENDS, datasets=["web"], num_workers=1)
    assert tars(tmp_path / "http") == tars(tmp_path / "disk")


def test_a_stopped_run_goes_on_with_the_shards_that_are_missing(packed, tmp_path, grey) -> None:
    generate_labels(packed, tmp_path / "whole", BACKENDS, num_workers=0, batch_size=1)
    labels = tmp_path / "labels"
    grey.before_decoding = lambda target: 1 / ("three" not in target.key)
    with pytest.raises(ZeroDivisionError):
        generate_labels(packed, labels, BACKENDS, num_workers=0, batch_size=1)
    there = tars(labels)
    assert 0 < len(there) < len(tars(tmp_path / "whole"))
    assert not list(labels.rglob("*.tmp"))
    (labels / "depth" / "web" / ".00002.tar.999999.tmp").write_bytes(b"of one that was killed")
    grey.before_decoding = id
    generate_labels(packed, labels, BACKENDS, num_workers=0, batch_size=1)
    assert tars(labels) == tars(tmp_path / "whole")
    assert not list(labels.rglob("*.tmp"))
    grey.decoded.clear()
    report = generate_labels(packed, labels, BACKENDS, num_workers=0)
    assert (report.labelled, report.finished_before, grey.decoded) == (0, 6, [])


def test_a_record_that_one_expert_lacks_is_added_there_alone(packed, tmp_path, grey) -> None:
    labels, experts = tmp_path / "labels", {"depth": "grey", "ocr_detection": "grey"}
    generate_labels(packed, labels, experts, num_workers=0)
    whole, shard = tars(labels)["depth/web/00000.tar"], labels / "ocr_detection/web/00000.tar"
    with tarfile.open(shard) as tar:
        first, *others = tar.getnames()
        kept = [(name, tar.extractfile(name).read()) for name in others]
    write_shard(shard, kept)
    report = generate_labels(packed, labels, experts, num_workers=0)
    assert report.labelled == 1
    with tarfile.open(shard) as tar:
        assert tar.getnames() == [*others, first]
    assert tars(labels)["depth/web/00000.tar"] == whole


def test_other_settings_and_overwriting(packed: Path, tmp_path: Path, grey: Grey) -> None:
    labels = tmp_path / "labels"
    generate_labels(packed, labels, {"depth": "grey"}, num_workers=0)
    before = tars(labels)
    shifted = {"depth": {"name": "grey", "shift": 1}}
    with pytest.raises(UserError, match="other settings"):
        generate_labels(packed, labels, shifted, num_workers=0)
    assert tars(labels) == before
    generate_labels(packed, labels, shifted, num_workers=0, overwrite=True)
    after = tars(labels)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before if "00003" not in name)


def test_damaged_images_are_reported_and_loose_ones_go_along(scenes, packed, tmp_path, grey) -> None:
    write_shard(packed / "web" / "00003.tar", {"bad.jpg": b"no image", "bad.txt": b"text"}.items())
    shutil.copy(scenes / "a" / "one.png", packed / "loose.png")
    report = generate_labels(packed, tmp_path / "labels", {"depth": "grey"}, num_workers=0)
    assert (report.images, report.labelled) == (8, 7)
    assert list(report.unreadable) == [f"{packed}/web/00003.tar/bad.jpg"]
    assert (tmp_path / "labels/depth/loose.png").is_file()
    assert len(index_of(tmp_path / "labels/depth/web/00003.tar").names) == 0
