"""The constant caption: chosen on training images, scored on test images."""

import json
import random
import sys

import pytest

from common.errors import UserError
from nano import caption_baseline
from nano.caption_baseline import best_constant_caption

TYPICAL = "a red cube stands on the ground"


@pytest.fixture
def train():
    """Images whose captions share much with the typical one, and one that has nothing in common."""
    shapes = ("cube", "ball", "cone", "cylinder")
    captions = {f"{n}.png": [f"a red {shape} stands on the ground"] for n, shape in enumerate(shapes * 3)}
    return captions | {"odd.png": ["seventeen purple pyramids hover overhead"]}


@pytest.mark.parametrize("seed", range(5))
def test_the_caption_that_suits_other_images_best(train, seed):
    chosen = best_constant_caption(train, seed)
    assert chosen.startswith("a red ")
    assert chosen == best_constant_caption(train, seed)


def test_images_are_drawn_by_the_seed():
    """Half of them are described, by captions of the other half: not always the first."""
    train = {f"{n}.png": [f"{word} thing number {n}"] for n, word in enumerate(["a red", "one blue"] * 4)}
    assert len({best_constant_caption(train, seed) for seed in range(8)}) > 2
    assert {best_constant_caption(train, seed)[-1] for seed in range(8)} & set("0123")


@pytest.mark.parametrize("seed", range(4))
def test_a_caption_is_not_tried_on_its_own_image(seed):
    train = {f"{n}.png": [f"word{n} thing{n} there{n}"] for n in range(6)}
    shuffled = list(train)
    random.Random(seed).shuffle(shuffled)
    assert best_constant_caption(train, seed) in [train[image][0] for image in shuffled[3:]]


def test_command_prints_caption_and_scores(train, tmp_path, monkeypatch, capsys):
    rows = [{"image": image, "caption": captions[0]} for image, captions in train.items()]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    truth = [{"id": n, "image_id": n, "caption": text} for n, text in enumerate([TYPICAL, "a dog", "a cat"])]
    (tmp_path / "gt.json").write_text(json.dumps({"images": [], "annotations": truth}))
    arguments = ["--train_list", str(tmp_path / "train.json"), "--test_gt", str(tmp_path / "gt.json")]
    monkeypatch.setattr(sys, "argv", ["caption_baseline", *arguments])
    monkeypatch.setenv("PATH", str(tmp_path))  # no Java, whose METEOR takes long to start
    caption_baseline.main()
    printed = capsys.readouterr().out
    assert printed.startswith("caption: a red ")
    assert "CIDEr" in printed


def test_three_images_are_too_few(tmp_path, monkeypatch):
    rows = [{"image": f"{name}.png", "caption": "a"} for name in "abc"]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "gt.json").write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "a"}]}))
    arguments = ["--train_list", str(tmp_path / "train.json"), "--test_gt", str(tmp_path / "gt.json")]
    monkeypatch.setattr(sys, "argv", ["caption_baseline", *arguments])
    with pytest.raises(UserError, match=r"train\.json: has captions of 3 images; a baseline needs 4"):
        caption_baseline.main()
