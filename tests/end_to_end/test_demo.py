"""demo.py, run as a user does: labels, captions, files that are left alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.conftest import ROOT, script

DEMO_IMAGES = ROOT / "helpers" / "images"
SUFFIXES = {".png", ".jpg", ".jpeg"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, with copies of the six demo images and of the config."""
    images = tmp_path / "helpers" / "images"
    images.mkdir(parents=True)
    for path in DEMO_IMAGES.iterdir():
        if path.suffix in SUFFIXES:
            shutil.copy(path, images)
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "caption.yaml", tmp_path / "configs")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in SUFFIXES}


def test_six_images_get_captions_that_name_what_is_in_them(folder):
    images = folder / "helpers" / "images"
    before = content(images)
    assert {Path(name).suffix for name in before} == SUFFIXES
    done = script("demo.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert content(images) == before
    named, found = 0, 0
    for name in before:
        caption = (images / name).with_suffix(".txt").read_text().strip()
        assert caption in done.stdout
        # The files are named after what stands in front, such as blue_cone_bread_sign.
        told = {word.removesuffix("s") for word in re.findall(r"\w+", caption.lower())}
        words = {word.removesuffix("s") for word in Path(name).stem.split("_")}
        named, found = named + len(words), found + len(words & told)
    assert found >= 0.6 * named


def test_labels_that_are_there_are_not_made_again(folder):
    assert script("demo.py", cwd=folder).returncode == 0
    labels = sorted((folder / "helpers" / "labels").rglob("*.png"))
    assert len(labels) == 6 * 6
    written = [path.stat().st_mtime_ns for path in labels]
    assert script("demo.py", cwd=folder).returncode == 0
    assert [path.stat().st_mtime_ns for path in labels] == written


def test_a_folder_of_odd_files(tmp_path):
    images = tmp_path / "odd"
    (images / "deep" / "er").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").save(images / "transparent.png")
    Image.fromarray(noise[..., 0], "L").save(images / "deep" / "grey.BMP")
    Image.fromarray(noise[:1, :1, :3]).save(images / "deep" / "er" / "one pixel.webp")
    (images / "broken.jpg").write_bytes(b"no image")
    (images / "notes.md").write_text("not an image")
    arguments = ("--config", ROOT / "configs" / "caption.yaml", "--labels", tmp_path / "labels")
    done = script("demo.py", "--images", images, *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "broken.jpg" in done.stderr
    written = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.txt"))
    assert written == ["deep/er/one pixel.txt", "deep/grey.txt", "transparent.txt"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--exp_name", "prismer_giant"), "no weights of experiment 'prismer_giant'"),
        (("--images", "nowhere"), "image folder nowhere is missing"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: no such config file"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, arguments, expected):
    done = script("demo.py", *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert expected in done.stderr
    assert list(folder.rglob("*.txt")) == []
    if "prismer_giant" in arguments:
        assert "prismer_nano" in done.stderr  # those there are


def test_an_expert_without_a_network_and_without_labels_is_named(folder):
    config = folder / "configs" / "caption.yaml"
    text = config.read_text()
    start = text.index("  backends:")
    config.write_text(text[:start] + "  backends: {depth: nano}\n  batch_size: 8\n")
    done = script("demo.py", cwd=folder)
    assert done.returncode == 2
    assert "normal" in done.stderr.splitlines()[-1]


def test_the_committed_model_says_how_it_was_made():
    description = json.loads((ROOT / "nano" / "caption_prismer_nano" / "model.json").read_text())
    assert description["usage"]["prefix"] == "A picture of"
    assert description["class_tables"] == "nano/tables"


def test_a_question_is_answered_for_each_image(folder):
    images = folder / "helpers" / "images"
    before = content(images)
    done = script("demo.py", "--question", "is there a sign", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Is there a sign?" in done.stdout
    answers = dict(re.findall(r"^(\S+\.\w+) +-?\d\.\d\d  (.*)$", done.stdout, re.MULTILINE))
    assert answers.keys() == before.keys()
    assert set(answers.values()) == {"yes", "no"}
    right = sum((answer == "yes") == ("sign" in name) for name, answer in answers.items())
    assert right >= 5
    assert content(images) == before
    assert not list(images.glob("*.txt"))  # answers are printed, captions are kept in files


def test_counts_are_numbers(folder):
    done = script("demo.py", "--question", "How many red cubes are there?", cwd=folder)
    assert done.returncode == 0, done.stderr
    answers = re.findall(r"^\S+\.\w+ +-?\d\.\d\d  (.*)$", done.stdout, re.MULTILINE)
    assert len(answers) == 6
    assert all(answer in {"0", "1", "2", "3", "4", "5", "6"} for answer in answers)
