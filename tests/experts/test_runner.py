"""The runner, with a stand-in expert."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from experts.runner import UNREADABLE_LOG, generate_labels
from model.errors import UserError

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
    (tmp_path / "ocr_detection/a/two.png").unlink()
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    assert (report.labelled, report.finished_before) == (1, 5)
    fresh = {str(path.relative_to(tmp_path)) for path in files if path.stat().st_mtime > 1}
    assert {name.rsplit(".", 1)[0] for name in fresh} == {
        f"{name}/a/two" for name in ("depth", "obj_detection", "ocr_detection")
    }
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0, overwrite=True)
    assert report.labelled == 6


def test_unreadable_images_are_logged_and_passed_over(scenes, tmp_path, grey):
    data = tmp_path / "data"
    data.mkdir()
    (data / "good.png").write_bytes((scenes / "a/one.png").read_bytes())
    (data / "cut.png").write_bytes((scenes / "a/one.png").read_bytes()[:900])
    (data / "empty.jpg").touch()
    labels = data / "labels"  # inside data_path: labels are no images of the next run
    report = generate_labels(data, labels, BACKENDS, prefix="set", num_workers=0, batch_size=1)
    assert report.labelled == 1
    log = (labels / UNREADABLE_LOG).read_text().splitlines()
    assert [line.split("\t")[0] for line in log] == [str(data / "cut.png"), str(data / "empty.jpg")]
    assert all(line.split("\t")[1] for line in log)
    (data / "cut.png").unlink()
    (data / "empty.jpg").unlink()
    report = generate_labels(data, labels, BACKENDS, prefix="set", num_workers=0)
    assert (report.images, report.finished_before) == (1, 1)
    assert not (labels / UNREADABLE_LOG).exists()


def test_labels_that_cannot_be_written_stop_the_run(scenes, tmp_path, grey):
    (tmp_path / "depth").write_text("a file where a folder has to be")
    with pytest.raises(UserError, match="cannot write labels below"):
        generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
