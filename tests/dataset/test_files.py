"""Files and folders appear whole or not at all."""

import os

import pytest

from dataset.files import append_json_line, numbered, recover_folder, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail(name):
        name.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path):
    def write(text):
        def make(name):
            name.mkdir()
            (name / "file").write_text(text)

        return make

    write_atomically(tmp_path / "last", write("one"))
    write_atomically(tmp_path / "last", write("two"))
    assert (tmp_path / "last" / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_json_lines_are_added(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    append_json_line(path, {"step": 1})
    append_json_line(path, {"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_file_that_exists_is_kept_and_the_next_is_numbered(tmp_path):
    names = []
    for _ in range(3):
        path = numbered(tmp_path / "coco_test.json")
        path.touch()
        names.append(path.name)
    assert names == ["coco_test.json", "coco_test_2.json", "coco_test_3.json"]
    (tmp_path / "coco_test_2.json").unlink()
    assert numbered(tmp_path / "coco_test.json").name == "coco_test_2.json"
    assert numbered(tmp_path / "absent" / "scores").name == "scores"


def test_a_folder_whose_replacement_was_killed_comes_back(tmp_path):
    def write(path):
        path.mkdir()
        (path / "content").write_text("whole")

    folder = tmp_path / "last"
    write_atomically(folder, write)
    folder.rename(tmp_path / ".last.old")  # what the first of the two renames does
    recover_folder(folder)
    assert (folder / "content").read_text() == "whole"
    recover_folder(folder)
    assert os.listdir(tmp_path) == ["last"]
