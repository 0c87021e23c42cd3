"""Labels good and bad, and what the command says of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.files import write_json
from experts.images import images_to_label
from experts.manifest import MANIFEST, Manifest, write_manifest
from helpers import inspect_labels
from helpers.label_inspection import ExpertReport, inspect
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
    paths = ("--data_path", disk.data, "--label_path", disk.labels, "--report", report, "--num_workers", 0)
    monkeypatch.setattr(sys, "argv", ["inspect_labels", *map(str, (*paths, *arguments))])
    return inspect_labels.main(), json.loads(report.read_text())


def test_whole_labels(disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    code, report = command(disk, monkeypatch)
    assert code == 0
    assert report["images"] == 3
    for name in EXPERTS:
        found = report["experts"][name]
        assert found == {**ExpertReport("unknown", 3).__dict__, "classes": found["classes"]}
    # the maps are random: each holds each of the three values
    assert report["experts"]["seg_coco"]["classes"] == {"0": 3, "1": 3, "2": 3}
    assert report["experts"]["obj_detection"]["classes"] == {"5": 3, "700": 3, "9": 3}
    assert report["experts"]["ocr_detection"]["classes"] == {"w0": 3, "w1": 3, "w2": 3}
    printed = capsys.readouterr().out
    assert printed.startswith("3 images, 0 unreadable\n")
    assert "100.0%" in printed


def tables(folder: Path, **classes: int) -> Path:
    features = np.zeros((722, 64), np.float32)
    for name, count in classes.items():
        np.savez(
            folder / f"{name}.npz", labels=[f"{name}{i}" for i in range(count)], features=features[:count]
        )
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
    assert report["experts"]["obj_detection"]["unexpected"] == dict.fromkeys(
        KEYS, "class 700, but there are 700"
    )


def test_what_is_wrong_is_named(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
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
    (disk.data / "set" / "cut.jpg").write_bytes((disk.data / "set" / "a.jpg").read_bytes()[:400])

    code, report = command(disk, monkeypatch, "--datasets", "set")
    assert code == 1
    assert (report["images"], list(report["unreadable"])) == (3, [str(disk.data / "set" / "cut.jpg")])
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
    assert found["ocr_detection"]["unexpected"] == {"set/c": "an embedding is not finite"}
    printed = capsys.readouterr().out
    assert "  missing set/a\n" in printed
    assert "66.7%" in printed


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


def test_processes_find_the_same(disk: Disk) -> None:
    disk.label("depth", "a.jpg", "set").unlink()
    images = images_to_label(disk.data)
    alone, shared = (inspect(images, disk.labels, EXPERTS, {}, num_workers=n) for n in (0, 2))
    assert alone == shared
