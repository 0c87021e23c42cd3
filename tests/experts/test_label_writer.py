"""Label files: layout, completeness."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from dataset.label_files import Word
from dataset.label_manifest import MANIFEST
from dataset.shards.writer import write_shard
from experts.base import Label
from experts.label_writer import label_png, remove_if_empty, remove_label, write_label
from model.modalities import BACKGROUND


def test_instances_are_a_map_and_a_sidecar(tmp_path):
    ids = np.array([[0, BACKGROUND, 1]], np.uint8)
    write_label(tmp_path, "obj_detection", "set/v1.2", Label(ids, instances={0: 5, 1: 32}))
    png = tmp_path / "obj_detection" / "set" / "v1.2.png"
    assert np.asarray(Image.open(png)).tolist() == ids.tolist()
    assert json.loads((png.parent / "v1.2.json").read_text()) == {"0": 5, "1": 32}
    assert sorted(os.listdir(png.parent)) == ["v1.2.json", "v1.2.png"]


def test_no_word_is_an_empty_png_without_sidecar(tmp_path):
    old = Label(np.zeros((2, 3), np.uint8), words={0: Word("exit", np.zeros(64, np.float32))})
    write_label(tmp_path, "ocr_detection", "a", old)
    (tmp_path / "ocr_detection" / "a.pt").touch()
    write_label(tmp_path, "ocr_detection", "a", Label(None))
    assert os.listdir(tmp_path / "ocr_detection") == ["a.png"]
    assert label_png(tmp_path, "ocr_detection", "a").stat().st_size == 0


def test_a_label_is_removed_with_what_is_beside_it(tmp_path):
    for name in ("a", "a.b"):
        write_label(tmp_path, "obj_detection", name, Label(np.zeros((2, 3), np.uint8), instances={0: 1}))
    remove_label(tmp_path, "obj_detection", "a")
    remove_label(tmp_path, "obj_detection", "none")
    assert sorted(os.listdir(tmp_path / "obj_detection")) == ["a.b.json", "a.b.png"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    write_label(tmp_path, "depth", "a", Label(np.zeros((2, 3), np.uint8)))
    before = label_png(tmp_path, "depth", "a").read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.files.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_label(tmp_path, "depth", "a", Label(np.ones((2, 3), np.uint8)))
    assert os.listdir(tmp_path / "depth") == ["a.png"]
    assert label_png(tmp_path, "depth", "a").read_bytes() == before


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ([MANIFEST, "set/0.tar", "set/0.tar.index", "shards.json"], None),
        ([MANIFEST, "set/notes.txt", "set/0.tar"], ["set/notes.txt"]),
        ([MANIFEST, "set/a.png"], [MANIFEST, "set/a.png"]),
        (["set/0.tar"], ["set/0.tar"]),  # without a manifest it is none of ours
        ([MANIFEST, "set/0.tar", "full.tar"], [MANIFEST, "full.tar", "set/0.tar"]),
        ([], []),
    ],
)
def test_a_folder_without_labels_goes_but_not_what_is_anothers(tmp_path, files, left):
    folder = tmp_path / "depth"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        if name.endswith(".tar"):
            write_shard(folder / name, {"a.webp": b"x"}.items() if name == "full.tar" else [])
    remove_if_empty(folder)
    assert folder.is_dir() == (left is not None)
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(name for name in found if not name.endswith(".index")) == sorted(left or [])


def test_the_png_comes_last(tmp_path, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr("common.files.os.replace", lambda *files: order.append(files[1].suffix) or replace(*files))
    write_label(tmp_path, "obj_detection", "a", Label(np.zeros((2, 2), np.uint8), instances={0: 1}))
    assert order == [".json", ".png"]
