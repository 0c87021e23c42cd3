"""What a run has to do, and which labels do not go together."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from dataset.label_manifest import MANIFEST, hashed, read_manifest
from experts.base import Label
from experts.dataset_images import ImageFile
from experts.label_plan import make_plan
from experts.label_writer import label_png, write_label
from experts.registry import passes

KEYS = ("a", "set/b", "set/c.v2", "set/deep/d")
GREY = {"depth": "grey", "ocr_detection": "grey"}
SHIFTED = {"depth": {"name": "grey", "shift": 1}}


def images(*keys: str) -> list[ImageFile]:
    return [ImageFile(f"{key}.jpg", key) for key in keys or KEYS]


def plan(folder: Path, backends: dict = GREY, keys: tuple = KEYS, overwrite: bool = False, **changes: str):
    settings = {"weights": folder, "precision": "fp32", "device": "cpu", "overwrite": overwrite} | changes
    return make_plan(images(*keys), passes(backends, 16), folder, **settings)


def write(folder: Path, expert: str, *keys: str) -> None:
    for key in keys:
        write_label(folder, expert, key, Label(np.zeros((2, 3), np.uint8)))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_what_is_missing_is_to_be_done(tmp_path, grey):
    found = plan(tmp_path)
    assert [(task.image.label, task.experts) for task in found.tasks[0]] == [
        (key, ("depth", "ocr_detection")) for key in KEYS
    ]
    write(tmp_path, "depth", *KEYS)
    write(tmp_path, "ocr_detection", "a", "set/c.v2")
    found = plan(tmp_path)
    assert {task.image.label: task.experts for task in found.tasks[0]} == {
        "set/b": ("ocr_detection",),
        "set/deep/d": ("ocr_detection",),
    }
    assert found.notes == []


def test_the_manifest_says_what_labels_were_made_with(tmp_path, grey):
    plan(tmp_path, {"depth": {"name": "grey", "shift": 3}})
    manifest = json.loads((tmp_path / "depth" / MANIFEST).read_text())
    assert manifest["expert"] == "depth"
    assert manifest["backend"] == "grey"
    assert manifest["options"] == {"shift": 3, "colours": []}
    assert manifest["precision"] == "fp32"
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
    for backends, changes, message in (
        (SHIFTED, {}, r'options \{"shift": 0, .*now \{"shift": 1'),
        (GREY, {"precision": "bf16"}, "precision fp32, now bf16"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            plan(tmp_path, backends, **changes)
        assert "--overwrite" in str(caught.value)
        assert str(tmp_path / "depth") in str(caught.value)
    grey.weights.write_bytes(b"other weights")
    with pytest.raises(UserError, match="other weights"):
        plan(tmp_path)
    assert content(tmp_path) == before


def test_weights_may_move_but_not_change(tmp_path, grey):
    plan(tmp_path)
    grey.weights = grey.weights.rename(grey.weights.with_name("moved.bin"))
    plan(tmp_path)
    (file,) = read_manifest(tmp_path / "depth").weights
    assert file.path.endswith("moved.bin")


def test_files_that_did_not_change_are_hashed_once(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(b"12345")
    (first,) = hashed([path], [])
    path.write_bytes(b"54321")
    os.utime(path, ns=(0, first.modified))  # what cannot be seen from outside is not looked for
    assert hashed([path], [first]) == [first]
    os.utime(path, ns=(0, first.modified + 1))
    assert hashed([path], [first])[0].sha256 != first.sha256


def test_missing_weights_are_named_before_anything_changes(tmp_path, grey):
    folder = tmp_path / "labels"
    grey.weights.unlink()
    with pytest.raises(UserError, match=r"grey\.bin: missing, and grey \(depth and ocr_detection\) needs it; "):
        plan(folder)
    assert not folder.exists()


def test_finished_labels_need_no_weights(tmp_path, grey):
    plan(tmp_path)
    for expert in GREY:
        write(tmp_path, expert, *KEYS)
    grey.weights.unlink()
    assert plan(tmp_path).tasks == [[]]
    with pytest.raises(UserError, match="options"):
        plan(tmp_path, SHIFTED)


def test_labels_made_elsewhere_count_as_finished_and_are_noted(tmp_path, grey):
    write(tmp_path, "depth", "a", "set/b", "other/x")
    found = plan(tmp_path)
    assert found.tasks[0][0].experts == ("ocr_detection",)
    assert found.notes == [f"{tmp_path}/depth: kept 3 labels without {MANIFEST}, made elsewhere"]
    assert read_manifest(tmp_path / "depth").made_elsewhere == 3
    assert read_manifest(tmp_path / "ocr_detection").made_elsewhere == 0
    assert plan(tmp_path).notes == []


def test_no_manifest_claims_labels_that_were_all_made_elsewhere(tmp_path, grey):
    write(tmp_path, "depth", *KEYS)
    assert plan(tmp_path, {"depth": "grey"}).tasks == [[]]
    assert not (tmp_path / "depth" / MANIFEST).exists()


def test_to_overwrite_removes_the_old_labels_then_changes_the_manifest(tmp_path, grey, monkeypatch):
    plan(tmp_path)
    write(tmp_path, "depth", *KEYS)
    sidecar = label_png(tmp_path, "depth", "a").with_suffix(".json")
    sidecar.write_text("of another program, which the expert does not know")

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    before = read_manifest(tmp_path / "depth")
    with monkeypatch.context() as patch:
        patch.setattr("experts.label_plan.write_manifest", killed)
        with pytest.raises(Killed):
            plan(tmp_path, SHIFTED, overwrite=True)
    assert read_manifest(tmp_path / "depth") == before  # which is true: no label of it is left
    assert list((tmp_path / "depth").rglob("*.png")) == []
    found = plan(tmp_path, SHIFTED, overwrite=True)
    assert len(found.tasks[0]) == 4
    assert read_manifest(tmp_path / "depth").options["shift"] == 1
    assert sidecar.exists()


def test_labels_made_elsewhere_are_counted_until_they_are_made_anew(tmp_path, grey):
    write(tmp_path, "depth", "a", "set/b", "other/x")
    counts = []
    for keys in (KEYS, ("a",), KEYS):
        plan(tmp_path, {"depth": "grey"}, keys, overwrite=keys != KEYS or bool(counts))
        write(tmp_path, "depth", *keys)
        counts.append(read_manifest(tmp_path / "depth").made_elsewhere)
    assert counts == [3, 3, 1]  # at last other/x is left


def test_a_part_of_the_labels_cannot_be_overwritten_with_other_settings(tmp_path, grey):
    plan(tmp_path)
    write(tmp_path, "depth", *KEYS)
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"would mix labels of different settings .* such as set/"):
        plan(tmp_path, SHIFTED, keys=("a",), overwrite=True)
    assert content(tmp_path) == before
    plan(tmp_path, GREY, keys=("a",), overwrite=True)  # of the same settings it can
    assert content(tmp_path).keys() == before.keys() - {"depth/a.png"}


def test_what_killed_runs_left_is_removed_and_what_runs_is_not(tmp_path, grey):
    plan(tmp_path)
    dead, alive = 2**22 + 1, 1  # beyond the greatest number of a process; init
    folders = (tmp_path, tmp_path / "depth", tmp_path / "depth" / "set")
    folders[-1].mkdir()
    for folder in folders:
        for process in (dead, alive, os.getpid()):
            (folder / f".b.png.{process}.tmp").touch()
    (tmp_path / "depth" / ".keep").touch()
    plan(tmp_path, keys=("set/b",))
    for folder in folders:
        left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        assert left == [f".b.png.{alive}.tmp"]
    assert (tmp_path / "depth" / ".keep").exists()


def test_an_image_named_like_the_manifest(tmp_path, grey):
    with pytest.raises(UserError, match=r"image manifest\.jpg: .* rename it"):
        plan(tmp_path, keys=("manifest",))
    plan(tmp_path, keys=("set/manifest",))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"backend": "grey"}'])
def test_a_damaged_manifest(tmp_path, grey, text):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=r"depth/manifest\.json: "):
        plan(tmp_path)
