"""The pictures of the demo, drawn by the script itself."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo_vis import draw
from helpers.cli import UNREADABLE_IMAGES
from helpers.pictures import MAX_BYTES
from model.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = (48, 36)


def demo_vis(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "demo_vis.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def folders(tmp_path):
    """Two images, one in a subfolder, and labels of each kind for the first of them."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    (images / "more").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(images / "one.png")
    (images / "one.txt").write_text("A red ball\n", encoding="utf-8")
    Image.fromarray(noise).save(images / "more" / "two.JPG")

    index = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    index[10:20, 10:30] = 0
    for name in ("depth", "seg_scenes", "obj_detection", "ocr_detection", "normal"):
        (labels / name / "images").mkdir(parents=True)
    for name in ("depth", "seg_scenes", "obj_detection", "ocr_detection"):
        Image.fromarray(index).save(labels / name / "images" / "one.png")
    (labels / "obj_detection" / "images" / "one.json").write_text(json.dumps({"0": 3}))
    words = {"0": {"text": "open", "features": [0.0] * 64}}
    (labels / "ocr_detection" / "images" / "one.json").write_text(json.dumps(words))
    (labels / "normal" / "images" / "one.png").touch()  # empty: no label
    return images, labels, tmp_path / "pictures"


def test_draws_a_picture_of_each_image(folders):
    images, labels, out = folders
    before = {path: path.read_bytes() for path in images.rglob("*") if path.is_file()}
    done = demo_vis("--images", images, "--labels", labels, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(out / "more" / "two.png"), str(out / "one.png")]
    pictures = {path.stem: Image.open(path) for path in out.rglob("*.png")}
    assert pictures["one"].width == pictures["two"].width > 1000
    # The second has no labels: its panels are grey, where the first has a bright depth map.
    depth = {
        name: np.ptp(np.asarray(picture.convert("L"))[60:220, 330:600]) for name, picture in pictures.items()
    }
    assert depth["one"] > 150
    assert depth["two"] < 150
    assert all(path.stat().st_size <= MAX_BYTES for path in out.rglob("*.png"))
    assert {path: path.read_bytes() for path in images.rglob("*") if path.is_file()} == before


def test_an_image_that_cannot_be_read_is_left_out(folders):
    images, labels, out = folders
    (images / "broken.png").write_bytes(b"no image")
    done = demo_vis("--images", images, "--labels", labels, "--out", out)
    assert done.returncode == UNREADABLE_IMAGES
    assert "skipped" in done.stderr
    assert "broken.png" in done.stderr
    assert len(list(out.rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": "nowhere"}, "image folder nowhere is missing; name yours with --images"),
        ({"labels": "nowhere"}, "label folder nowhere has no labels; run demo.py"),
        ({"class_tables": "nowhere"}, "class table nowhere"),
        ({"out": "{images}/pictures"}, "lies among the images"),
    ],
)
def test_bad_folders(folders, changed, message, monkeypatch):
    images, labels, out = folders
    monkeypatch.chdir(ROOT)
    arguments = {"images": images, "labels": labels, "out": out, "class_tables": Path("nano/tables")}
    arguments |= {name: Path(value.format(images=images)) for name, value in changed.items()}
    with pytest.raises(UserError, match=message):
        draw(argparse.Namespace(**arguments))
    assert not out.exists()


def test_a_label_of_another_size_is_one_line(folders):
    images, labels, out = folders
    Image.new("L", (10, 10)).save(labels / "depth" / "images" / "one.png")
    done = demo_vis("--images", images, "--labels", labels, "--out", out)
    assert done.returncode == 2
    assert "depth" in done.stderr
    assert "10 x 10" in done.stderr
    assert len(done.stderr.splitlines()) == 1
