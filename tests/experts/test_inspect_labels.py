"""Labels good and bad, and what the command says of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import write_json
from dataset.label_files import pack_label
from dataset.label_manifest import MANIFEST, Manifest, write_manifest
from dataset.shards.pack import pack
from dataset.shards.writer import write_list, write_shard
from experts import inspect_labels
from experts.inspection import ExpertReport, StoredLabels, inspect
from model.modalities import modality
from tests.dataset.disk import EXPERTS, SIZE, Disk

KEYS = ("set/a", "set/deep/b.v2", "set/c")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    made = Disk(tmp_path)
    for key in KEYS:
        made.add(f"{key.removeprefix('set/')}.jpg", "set")
    return made


def command(disk: Disk, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, dict]:
    report = disk.data.parent / "report.json"
    paths = ("--data_path", disk.data, "--save_path", disk.labels, "--report", report, "--num_workers", 0)
    monkeypatch.setattr(sys, "argv", ["inspect_labels", *map(str, (*paths, *arguments))])
    return inspect_labels.main(), json.loads(report.read_text())


def test_whole_labels(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    code, report = command(disk, monkeypatch)
    assert (code, report["images"]) == (0, 3)
    # The maps are random: each holds each of the three values.
    classes = {"seg_coco": ("0", "1", "2"), "obj_detection": ("5", "700", "9"), "ocr_detection": ("w0", "w1", "w2")}
    for name in EXPERTS:
        expected = ExpertReport("unknown", 3, classes=dict.fromkeys(classes.get(name, ()), 3))
        assert report["experts"][name] == expected.__dict__


def test_the_config_names_the_folders_and_an_unreadable_image_is_an_exit_code(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (disk.data / "set" / "broken.jpg").touch()
    (disk.data / "other").mkdir()
    config = {"data_path": str(disk.data), "save_path": str(disk.labels), "datasets": ["set"], "backends": {}}
    write_json(disk.data.parent / "experts.yaml", config)
    command = ["inspect_labels", "--config", str(disk.data.parent / "experts.yaml"), "--num_workers", "0"]
    monkeypatch.setattr(sys, "argv", command)
    assert inspect_labels.main() == 3
    assert capsys.readouterr().out.startswith("3 images, 1 unreadable\n")
    monkeypatch.setattr(sys, "argv", [*command, "--datasets", "other"])
    with pytest.raises(UserError, match=r"other has no images"):
        inspect_labels.main()


def tables(folder: Path, **classes: int) -> Path:
    features = np.zeros((722, 64), np.float32)
    for name, count in classes.items():
        np.savez(folder / f"{name}.npz", labels=[f"{name}{i}" for i in range(count)], features=features[:count])
    np.savez(folder / "background.npz", features=features[0])
    return folder


def test_classes_have_names_and_an_end(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tables(tmp_path, coco=133, detection=722)
    code, report = command(disk, monkeypatch, "--class_tables", folder)
    assert code == 0
    assert report["experts"]["seg_coco"]["classes"] == {"coco0": 3, "coco1": 3, "coco2": 3}
    code, report = command(disk, monkeypatch, "--class_tables", tables(tmp_path, coco=2, detection=700))
    assert code == 1
    assert report["experts"]["seg_coco"]["unexpected"] == dict.fromkeys(KEYS, "class 2, but there are 2")
    assert report["experts"]["obj_detection"]["unexpected"] == dict.fromkeys(KEYS, "class 700, but there are 700")


def test_what_is_wrong_is_named(disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def label(expert: str, image: str) -> Path:
        return disk.label(expert, image, "set")

    label("depth", "a.jpg").unlink()
    label("depth", "c.jpg").write_bytes(label("depth", "c.jpg").read_bytes()[:-30])
    Image.new("L", SIZE[::-1]).save(label("edge", "a.jpg"))
    Image.new("L", SIZE).save(label("edge", "c.jpg"))
    Image.new("L", SIZE).save(label("normal", "c.jpg"))
    label("seg_coco", "c.jpg").write_bytes(b"")
    Image.new("L", SIZE, 255).save(label("seg_coco", "a.jpg"))
    label("obj_detection", "a.jpg").with_suffix(".json").write_text('{"0": 5, "2": 9}')
    label("obj_detection", "c.jpg").with_suffix(".json").unlink()
    label("ocr_detection", "a.jpg").unlink()
    words = json.loads(label("ocr_detection", "c.jpg").with_suffix(".json").read_text())
    words["0"]["features"][3] = float("nan")
    label("ocr_detection", "c.jpg").with_suffix(".json").write_text(json.dumps(words))
    Image.new("L", SIZE).save(label("seg_coco", "gone.jpg"))
    whole = (disk.data / "set" / "a.jpg").read_bytes()
    (disk.data / "set" / "cut.jpg").write_bytes(whole[:400])
    (disk.data / "set" / "half.jpg").write_bytes(whole[: len(whole) * 3 // 4])  # its size can be read

    code, report = command(disk, monkeypatch, "--datasets", "set")
    assert code == 1
    unreadable = [str(disk.data / "set" / name) for name in ("cut.jpg", "half.jpg")]
    assert (report["images"], list(report["unreadable"])) == (3, unreadable)
    found = report["experts"]
    assert found["depth"]["missing"] == ["set/a"]
    assert "damaged" in found["depth"]["damaged"]["set/c"]
    assert "is 30 x 40 but its image is 40 x 30" in found["edge"]["damaged"]["set/a"]
    assert found["edge"]["flat"] == 1
    assert "Pillow mode L, expected RGB" in found["normal"]["damaged"]["set/c"]
    assert (found["seg_coco"]["empty"], found["seg_coco"]["labels"]) == (2, 3)
    assert found["seg_coco"]["stray"] == ["set/gone"]
    assert found["obj_detection"]["unexpected"] == {"set/a": "instance 1 has no class"}
    assert "missing beside its PNG" in found["obj_detection"]["damaged"]["set/c"]
    assert (found["ocr_detection"]["empty"], found["ocr_detection"]["labels"]) == (1, 2)
    assert "NaN is no finite number" in found["ocr_detection"]["damaged"]["set/c"]
    printed = capsys.readouterr().out
    assert "  missing set/a\n" in printed
    assert "66.7%" in printed


def test_long_lists_are_cut(disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name in "defg":
        disk.add(f"{name}.jpg", "set", experts=["depth"])
    for name in "abcdef":
        disk.label("edge", f"{name}.jpg", "set").unlink(missing_ok=True)
    code, report = command(disk, monkeypatch, "--experts", "depth,edge")
    assert (code, len(report["experts"]["edge"]["missing"])) == (1, 6)
    assert capsys.readouterr().out.splitlines() == [
        "7 images, 0 unreadable",
        "expert  labels  coverage  empty  flat  missing  damaged  unexpected  stray",
        "depth        7    100.0%      0     0        0        0           0      0",
        "edge         1     14.3%      0     0        6        0           0      0",
        "",
        "depth (made with: unknown)",
        "",
        "edge (made with: unknown)",
        *(f"  missing set/{name}" for name in "acdef"),
        "  missing: 1 more",
    ]


def test_after_our_experts_no_file_means_no_label(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest("ocr_detection", "charnet", {}, "fp32", [], 0, {})
    write_manifest(disk.labels / "ocr_detection", manifest)
    disk.label("ocr_detection", "a.jpg", "set").unlink()
    code, report = command(disk, monkeypatch, "--experts", "ocr_detection")
    assert code == 1
    assert report["experts"]["ocr_detection"]["missing"] == ["set/a"]
    assert report["experts"]["ocr_detection"]["made_with"] == "charnet, fp32"
    write_json(disk.labels / "ocr_detection" / MANIFEST, {**manifest.__dict__, "made_elsewhere": 2})
    code, report = command(disk, monkeypatch, "--experts", "ocr_detection")
    assert code == 0
    assert report["experts"]["ocr_detection"]["made_with"] == "charnet, fp32, 2 made elsewhere"


@pytest.mark.parametrize("form", ["packed", "png"])
@pytest.mark.parametrize("images", ["shards", "files"])
def test_labels_in_shards(disk: Disk, tmp_path: Path, images: str, form: str) -> None:
    expected = inspect(disk.data, disk.labels, EXPERTS, {})
    pack(disk.data, disk.labels, tmp_path / "out", dataset="set", form=form, shard_size=2)
    data = disk.data if images == "files" else tmp_path / "out"
    for workers in (0, 2):
        found = inspect(data, tmp_path / "out/labels", EXPERTS, {}, ["set/"], num_workers=workers)
        assert found == expected
    assert inspect(data, tmp_path / "out/labels", EXPERTS, {}) == expected
    if form == "png":  # the labels of shards may be files
        assert inspect(tmp_path / "out", disk.labels, EXPERTS, {}, ["set"]) == expected


def test_shards_within_a_folder_of_shards(tmp_path: Path) -> None:
    """A label is looked for in the nearest folder that has shards, and else among the files."""
    for folder, content in (("set", b"outer"), ("set/deep", b"inner")):
        write_shard(tmp_path / "depth" / folder / "0.tar", {"x.webp": content}.items())
        write_list(tmp_path / "depth" / folder)
    (tmp_path / "depth" / "loose.png").touch()
    stored = StoredLabels(tmp_path, "depth", [""])
    assert sorted(stored.labels()) == ["loose", "set/deep/x", "set/x"]
    for label, content in (("set/x", b"outer"), ("set/deep/x", b"inner")):
        assert stored.reader(label).path(modality("depth"), label, "0.tar").read_bytes() == content
    assert stored.reader("loose") is stored.reader("other/y")
    assert stored.reader("loose") is not stored.reader("set/x")


def test_what_is_wrong_in_shards(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "packed").mkdir()
    out = Disk(tmp_path / "packed")
    pack(disk.data, disk.labels, out.data, dataset="set", shard_size=2)
    out.labels = out.data / "labels"
    image = (out.data / "set" / "00001.tar").read_bytes()  # of set/deep/b.v2 alone
    (out.data / "set" / "00001.tar").write_bytes(image[:800])
    label = pack_label(Image.new("L", SIZE, 3))
    write_shard(out.labels / "depth/set/00000.tar", {"a.webp": label, "gone.webp": label}.items())
    write_shard(out.labels / "edge/set/00000.tar", {"a.webp": label[:-9], "c.webp": b""}.items())
    (out.labels / "normal/set/00000.tar").unlink()
    (out.labels / "seg_coco/set/00000.tar").write_bytes(b"no tar" * 1000)
    instances = {"a.webp": pack_label(Image.new("L", SIZE, 3), {"0": 5}), "c.webp": label}
    write_shard(out.labels / "obj_detection/set/00000.tar", instances.items())
    write_shard(out.labels / "ocr_detection/set/00000.tar", {"c.webp": b""}.items())

    code, report = command(out, monkeypatch)
    assert code == 1
    assert (report["images"], list(report["unreadable"])) == (2, [f"{out.data}/set/00001.tar/deep/b.v2.jpg"])
    found = report["experts"]
    assert (found["depth"]["labels"], found["depth"]["flat"]) == (1, 1)
    assert (found["depth"]["missing"], found["depth"]["stray"]) == (["set/c"], ["set/gone"])
    assert "00000.tar/a.webp: damaged" in found["edge"]["damaged"]["set/a"]
    assert (found["edge"]["labels"], found["edge"]["empty"]) == (1, 1)
    # Of a shard that is listed but not there, its labels are damaged; of one that holds nothing, missing.
    assert "set/00000.tar" in found["normal"]["damaged"]["set/a"]
    assert found["seg_coco"]["missing"] == ["set/a", "set/c"]
    assert found["obj_detection"]["unexpected"] == {"set/a": "instance 3 has no class"}
    assert list(found["obj_detection"]["damaged"]) == ["set/c"]
    assert (found["ocr_detection"]["empty"], found["ocr_detection"]["missing"]) == (2, [])
    assert "  missing set/c\n" in capsys.readouterr().out
