"""The runner, with a stand-in expert."""

import errno
import json
import os
import shutil
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from experts import labelling
from experts.base import Target
from experts.finite import NotFinite
from experts.label_writer import cannot_write
from experts.runner import UNREADABLE_LOG, find_setting, generate_labels
from tests.experts.conftest import Grey

BACKENDS = {"depth": "grey", "obj_detection": "grey", "ocr_detection": "grey"}


def test_labels_lie_where_the_data_sets_look_for_them(scenes, tmp_path, grey):
    report = generate_labels(scenes, tmp_path, BACKENDS, batch_size=4, num_workers=2)
    assert (report.images, report.labelled, report.unreadable) == (6, 6, {})
    assert grey.batches == [4, 2]
    for name in ("a/one.png", "a/three.JPEG", "a/b/dotted.name.bmp"):
        image = Image.open(scenes / name).convert("L")
        label = Image.open(tmp_path / "depth" / f"{name.rsplit('.', 1)[0]}.png")
        assert np.array_equal(np.asarray(label), np.asarray(image))
        wide = image.width > image.height
        assert (tmp_path / "ocr_detection" / f"{name.rsplit('.', 1)[0]}.json").exists() == wide
    assert json.loads((tmp_path / "obj_detection/a/one.json").read_text()) == {"0": 7}


def test_a_second_run_makes_only_what_is_missing(scenes, tmp_path, grey):
    generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (1, 1))
    (tmp_path / "depth/a/two.png").unlink()
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    assert (report.labelled, report.finished_before) == (1, 5)
    assert [path for path in files if path.stat().st_mtime > 1] == [tmp_path / "depth/a/two.png"]
    assert grey.decoded[6:] == ["a/two"]
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0, overwrite=True)
    assert report.labelled == 6
    assert all(path.stat().st_mtime > 1 for path in files if path.name != "manifest.json")


def test_a_network_is_gone_before_the_next_one_comes(scenes, tmp_path, grey, monkeypatch):
    backends = {"depth": "grey", "obj_detection": {"name": "grey", "batch_size": 2}}
    alive: list[weakref.ref] = []

    def load(modalities, options, setting):
        assert [network() for network in alive] == [None] * len(alive)
        network = Grey(grey.weights)
        network.itself = network  # a cycle, which only the garbage collector breaks
        alive.append(weakref.ref(network))
        return network

    monkeypatch.setattr(sys.modules["grey module"], "load", load)
    generate_labels(scenes, tmp_path, backends, num_workers=0)
    assert len(alive) == 2


@pytest.mark.parametrize(
    ("device", "has_bf16", "precision", "dtype"),
    [
        ("cpu", True, "auto", torch.float32),
        ("cpu", False, "fp32", torch.float32),
        ("cuda", True, "auto", torch.bfloat16),
        ("cuda", False, "auto", torch.float32),
        ("cuda", False, "bf16", torch.bfloat16),
        ("cuda", True, "fp16", torch.float16),
        ("cuda", True, "fp32", torch.float32),
        ("cpu", True, "bf16", None),
    ],
)
def test_the_precision_of_a_device(monkeypatch, device, has_bf16, precision, dtype):
    state = SimpleNamespace(device=torch.device(device))
    monkeypatch.setattr("experts.runner.PartialState", lambda cpu: state)
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: has_bf16)
    if dtype is None:
        with pytest.raises(UserError, match="precision bf16 is for GPUs"):
            find_setting("weights", precision)
    else:
        setting = find_setting("weights", precision)
        assert (setting.device, setting.weights, setting.dtype) == (state.device, Path("weights"), dtype)


def test_unreadable_images_are_logged_and_passed_over(scenes, tmp_path, grey):
    data = tmp_path / "data"
    data.mkdir()
    (data / "good.png").write_bytes((scenes / "a/one.png").read_bytes())
    (data / "cut.png").write_bytes((scenes / "a/one.png").read_bytes()[:900])
    (data / "empty.jpg").touch()
    (data / "gone.png").symlink_to("nowhere.png")
    labels = data / "labels"  # inside data_path: labels are no images of the next run
    report = generate_labels(data, labels, BACKENDS, prefix="set", num_workers=0, batch_size=1)
    assert report.labelled == 1
    bad = [data / name for name in ("cut.png", "empty.jpg", "gone.png")]
    log = (labels / UNREADABLE_LOG).read_text().splitlines()
    assert [line.split("\t")[0] for line in log] == [str(path) for path in bad]
    assert all(line.split("\t")[1] for line in log)
    assert "No such file" in log[2]
    for path in bad:
        path.unlink()
    report = generate_labels(data, labels, BACKENDS, prefix="set", num_workers=0)
    assert (report.images, report.finished_before) == (1, 1)
    assert not (labels / UNREADABLE_LOG).exists()


def test_passes_are_reported_together(scenes, tmp_path, grey, monkeypatch):
    """One image cannot be read, so that only the first pass reads it; one fails in both, another in one."""
    shutil.copytree(scenes / "a", tmp_path / "data")
    (tmp_path / "data" / "broken.png").touch()
    loaded = []

    def fails(target: Target) -> None:
        if target.key == "one" or (target.key == "two" and grey.decoded.count("three") == 2):
            raise NotFinite(f"no {len(grey.decoded) // 5}")

    read = labelling.read_image
    monkeypatch.setattr(labelling, "read_image", lambda file: loaded.append(file.name) or read(file))
    grey.before_decoding = fails
    backends = {"depth": "grey", "ocr_detection": {"name": "grey", "batch_size": 7}}
    report = generate_labels(tmp_path / "data", tmp_path / "labels", backends, num_workers=0, num_writers=1)
    assert (report.images, report.labelled, report.finished_before) == (7, 4, 0)
    assert [Path(name).name for name in report.unreadable] == ["broken.png"]
    assert {Path(name).name: reason for name, reason in report.failed.items()} == {
        "one.png": "depth: no 0; ocr_detection: no 1",
        "two.jpg": "ocr_detection: no 1",
    }
    assert [loaded.count(name) for name in ("broken.png", "one.png")] == [1, 2]
    assert report.notes == []
    assert report.skipped.keys() == report.unreadable.keys() | report.failed.keys()


def test_labels_that_cannot_be_written_stop_the_run(scenes, tmp_path, grey):
    (tmp_path / "depth").write_text("a file where a folder has to be")
    with pytest.raises(UserError, match=r"cannot write labels below .* Not a directory; choose another label folder"):
        generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    full = cannot_write(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert str(full).endswith("No space left on device; free some space and start again, finished labels are kept")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (UNREADABLE_LOG, b"the thieves of my list\n"),
        ("obj_detection/a/one.json", b'{"made": "by hand"}'),
        ("obj_detection/a/one.json", b"[0]"),
    ],
)
def test_files_of_another_in_the_label_folder_are_kept(scenes, tmp_path, grey, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    backends = {"depth": "grey"} if name == UNREADABLE_LOG else {"obj_detection": "grey"}
    with pytest.raises(UserError, match=r"written by .*generate\.py.* --overwrite"):
        generate_labels(scenes, tmp_path, backends, num_workers=0)
    assert path.read_bytes() == content
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_images_where_labels_go_are_no_labels(scenes, tmp_path, grey):
    images = tmp_path / "depth"
    shutil.copytree(scenes, images)
    before = {path: path.read_bytes() for path in images.rglob("*") if path.is_file()}
    for data_path, datasets in ((images, ()), (tmp_path, ["depth/a"])):
        save_path = tmp_path if not datasets else tmp_path / "depth" / ".."
        options = {"datasets": datasets, "num_workers": 0, "overwrite": True}
        with pytest.raises(UserError, match="images lie where labels go; choose another label folder"):
            generate_labels(data_path, save_path, BACKENDS, **options)
    assert {path: path.read_bytes() for path in images.rglob("*") if path.is_file()} == before
