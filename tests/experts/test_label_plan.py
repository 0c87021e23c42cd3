"""The plan of a run: missing labels, and labels that must not be mixed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from dataset.label_manifest import MANIFEST, hashed, read_manifest
from experts import label_plan
from experts.base import Label, RuntimeConfig
from experts.dataset_images import ImageFile
from experts.label_plan import Plan, make_plan
from experts.label_writer import label_png, write_label
from experts.registry import passes
from tests.experts.conftest import content

KEYS = ("a", "set/b", "set/c.v2", "set/deep/d")
GREY = {"depth": "grey", "ocr_detection": "grey"}
DEPTH = {"depth": "grey"}
SHIFTED = {"depth": {"name": "grey", "shift": 1}}
FP32 = RuntimeConfig(torch.device("cpu"), Path())


def plan(
    folder: Path, backends: dict = GREY, keys: tuple = KEYS, overwrite: bool = False, setting: RuntimeConfig = FP32
) -> Plan:
    images = [ImageFile(f"{key}.jpg", key) for key in keys]
    return make_plan(images, passes(backends, 16), folder, setting, overwrite)


def write(folder: Path, expert: str, *keys: str) -> None:
    for key in keys:
        write_label(folder, expert, key, Label(np.zeros((2, 3), np.uint8)))


def test_missing_labels_are_to_be_done(tmp_path, grey):
    found = plan(tmp_path)
    assert [(task.image.label, task.experts) for task in found.tasks[0]] == [(key, tuple(GREY)) for key in KEYS]
    write(tmp_path, "depth", *KEYS)
    write(tmp_path, "ocr_detection", "a", "set/c.v2")
    found = plan(tmp_path)
    lacking = {task.image.label: task.experts for task in found.tasks[0]}
    assert lacking == dict.fromkeys(("set/b", "set/deep/d"), ("ocr_detection",))
    assert found.notes == []


def test_the_manifest_says_what_labels_were_made_with(tmp_path, grey):
    plan(tmp_path, {"depth": {"name": "grey", "shift": 3}})
    manifest = json.loads((tmp_path / "depth" / MANIFEST).read_text())
    settings = {"expert": "depth", "backend": "grey", "options": {"shift": 3, "colours": []}, "precision": "fp32"}
    assert {key: manifest[key] for key in settings} == settings
    assert manifest["weights"][0]["path"] == str(grey.weights)
    assert manifest["weights"][0]["sha256"] == (
        "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"  # printf weights | sha256sum
    )
    assert "torch" in manifest["made_with"]
    assert os.listdir(tmp_path) == ["depth"]


def test_labels_of_other_settings_are_refused_and_left_alone(tmp_path, grey):
    plan(tmp_path)
    write(tmp_path, "depth", *KEYS)
    before = content(tmp_path)
    for backends, setting, message in (
        (SHIFTED, FP32, r'options \{"shift": 0, .*now \{"shift": 1'),
        (GREY, replace(FP32, dtype=torch.bfloat16), "precision fp32, now bf16"),
    ):
        with pytest.raises(UserError, match=rf"{tmp_path / 'depth'}.*{message}.*--overwrite"):
            plan(tmp_path, backends, setting=setting)
    grey.weights.write_bytes(b"other weights")
    with pytest.raises(UserError, match="other weights"):
        plan(tmp_path)
    assert content(tmp_path) == before


def test_weights_may_move_and_are_hashed_once(tmp_path, grey):
    plan(tmp_path)
    grey.weights = grey.weights.rename(grey.weights.with_name("moved.bin"))
    plan(tmp_path)
    (file,) = read_manifest(tmp_path / "depth").weights
    assert file.path.endswith("moved.bin")
    grey.weights.write_bytes(b"WEIGHTS")
    os.utime(grey.weights, ns=(0, file.modified))  # size and time are the same
    assert hashed([grey.weights], [file]) == [file]
    os.utime(grey.weights, ns=(0, file.modified + 1))
    assert hashed([grey.weights], [file])[0].sha256 != file.sha256


def test_missing_weights_are_named_before_anything_changes_unless_all_labels_are_finished(tmp_path, grey):
    plan(tmp_path)
    for expert in GREY:
        write(tmp_path, expert, *KEYS)
    grey.weights.unlink()
    assert plan(tmp_path).tasks == [[]]
    with pytest.raises(UserError, match="options"):
        plan(tmp_path, SHIFTED)
    with pytest.raises(UserError, match=r"grey\.bin: missing, and grey \(depth and ocr_detection\) needs it; "):
        plan(tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_labels_made_elsewhere_count_as_finished_and_are_noted(tmp_path, grey):
    write(tmp_path, "depth", "a", "set/b", "other/x")
    found = plan(tmp_path)
    assert found.tasks[0][0].experts == ("ocr_detection",)
    assert found.notes == [f"{tmp_path}/depth: kept 3 labels without {MANIFEST}, made elsewhere"]
    assert plan(tmp_path).notes == []
    assert read_manifest(tmp_path / "ocr_detection").made_elsewhere == 0
    counts = [read_manifest(tmp_path / "depth").made_elsewhere]
    write(tmp_path, "depth", *KEYS)
    for keys in (("a",), KEYS):
        plan(tmp_path, DEPTH, keys, overwrite=True)
        write(tmp_path, "depth", *keys)
        counts.append(read_manifest(tmp_path / "depth").made_elsewhere)
    assert counts == [3, 3, 1]  # at last other/x is left
    write(tmp_path / "whole", "depth", *KEYS)
    assert plan(tmp_path / "whole", DEPTH).tasks == [[]]
    assert not (tmp_path / "whole" / "depth" / MANIFEST).exists()  # it would claim labels of unknown settings


def test_to_overwrite_removes_the_old_labels_then_changes_the_manifest(tmp_path, grey, monkeypatch):
    plan(tmp_path)
    write(tmp_path, "depth", *KEYS)
    sidecar = label_png(tmp_path, "depth", "a").with_suffix(".json")
    sidecar.write_text("of another program, which the expert does not know")
    before = read_manifest(tmp_path / "depth")
    with monkeypatch.context() as patch:
        patch.setattr(label_plan, "write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            plan(tmp_path, SHIFTED, overwrite=True)
    assert read_manifest(tmp_path / "depth") == before  # which is true: no label of it is left
    assert list((tmp_path / "depth").rglob("*.png")) == []
    found = plan(tmp_path, SHIFTED, overwrite=True)
    assert len(found.tasks[0]) == 4
    assert read_manifest(tmp_path / "depth").options["shift"] == 1
    assert sidecar.exists()


def test_a_part_of_the_labels_cannot_be_overwritten_with_other_settings(tmp_path, grey):
    plan(tmp_path)
    write(tmp_path, "depth", *KEYS)
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"would mix labels of different settings .* such as set/"):
        plan(tmp_path, SHIFTED, keys=("a",), overwrite=True)
    assert content(tmp_path) == before
    plan(tmp_path, GREY, keys=("a",), overwrite=True)  # of the same settings it can
    assert content(tmp_path).keys() == before.keys() - {"depth/a.png"}


def test_temporary_files_of_killed_runs_are_removed_and_those_of_others_are_not(tmp_path, grey):
    plan(tmp_path)
    dead, alive = 2**22 + 1, 1  # beyond the greatest number of a process; init
    folders = (tmp_path, tmp_path / "depth", tmp_path / "depth" / "set")
    folders[-1].mkdir()
    for folder in folders:
        for process in (dead, alive, os.getpid()):
            (folder / f".b.png.{process}.tmp").touch()
    plan(tmp_path, keys=("set/b",))
    for folder in folders:
        assert [path.name for path in folder.glob(".*")] == [f".b.png.{alive}.tmp"]


def test_an_image_named_like_the_manifest(tmp_path, grey):
    with pytest.raises(UserError, match=r"image manifest\.jpg: .* rename it"):
        plan(tmp_path, keys=("manifest",))
    plan(tmp_path, keys=("set/manifest",))


@pytest.mark.parametrize("text", ["", "[]", '{"backend": "grey"}'])
def test_a_damaged_manifest(tmp_path, grey, text):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=r"depth/manifest\.json: "):
        plan(tmp_path)
