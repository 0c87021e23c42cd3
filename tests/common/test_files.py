"""Files appear whole or not at all."""

import json
import math

import pytest

from common.files import append_json_line, numbered, write_atomically, write_json


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


def test_json_lines_are_added(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    append_json_line(path, {"step": 1})
    append_json_line(path, {"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_what_is_no_number_in_json_becomes_null(tmp_path):
    path, record = tmp_path / "a.json", {"a": [math.nan, (math.inf, 1.5)], "b": "ä", "c": -math.inf}
    write_json(path, record)
    append_json_line(path, record)
    assert path.read_text() == '{"a": [null, [null, 1.5]], "b": "ä", "c": null}\n' * 2


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
    (tmp_path / "a_2_scores.json").symlink_to("nowhere")
    (tmp_path / "a.json").touch()
    assert numbered(tmp_path / "a.json", beside=["_scores"]).name == "a_3.json"


def test_a_name_may_be_as_long_as_the_file_system_allows_and_no_unicode(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    write_json(path, {"image": "caf\udce9.jpg", "caption": "café"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"image": "caf\udce9.jpg", "caption": "café"}
    assert "café" in path.read_text(encoding="utf-8")
