"""The baselines are chosen on training data and scored on test data."""

import json
import random
import sys

import pytest

from common.errors import UserError
from dataset.questions import Question
from nano.baselines import best_constant_caption, main, most_frequent_answers

SHAPES = ("cube", "ball", "cone", "cylinder")
CAPTIONS = {f"{n}.png": [f"a red {shape} stands on the ground"] for n, shape in enumerate(SHAPES * 3)}
CAPTIONS["odd.png"] = ["seventeen purple pyramids hover overhead"]
TRAIN = [
    {"image": "a.png", "question": "Is it?", "answer": "yes", "type": "exist"},
    {"image": "a.png", "question": "Is it red?", "answer": "yes", "type": "exist"},
    {"image": "a.png", "question": "Is it blue?", "answer": "no", "type": "exist"},
    {"image": "b.png", "question": "How many?", "answer": "3", "type": "count"},
    {"image": "b.png", "question": "How many?", "answer": "2", "type": "count", "weight": 0.3},
    {"image": "b.png", "question": "How many?", "answer": "2", "type": "count", "weight": 0.3},
]
TEST = [
    {"image": "c.png", "question_id": 1, "question": "Is it?", "answer": ["yes"] * 10, "type": "exist"},
    {"image": "c.png", "question_id": 2, "question": "How many?", "answer": ["3"] * 10, "type": "count"},
    {"image": "c.png", "question_id": 3, "question": "How many?", "answer": ["2"] * 10, "type": "count"},
    {"image": "c.png", "question_id": 4, "question": "Tasty?", "answer": ["yes"] * 10, "type": "taste"},
]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command on two lists and returns the lines that it prints."""

    def run(task, train, test):
        arguments = ["baselines", task]
        for name, rows in (("train_list", train), ("test", test)):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(rows))
            arguments += [f"--{name}", str(path)]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setenv("PATH", str(tmp_path))  # without Java, whose METEOR starts slowly
        main()
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("seed", range(4))
def test_the_caption_fits_other_images_than_its_own(seed):
    chosen = best_constant_caption(CAPTIONS, seed)
    assert chosen.startswith("a red ")
    assert chosen == best_constant_caption(CAPTIONS, seed)
    unlike = {f"{n}.png": [f"word{n} thing{n} there{n}"] for n in range(6)}
    shuffled = list(unlike)
    random.Random(seed).shuffle(shuffled)
    assert best_constant_caption(unlike, seed) in [unlike[image][0] for image in shuffled[3:]]


def test_the_seed_draws_the_images():
    train = {f"{n}.png": [f"{word} thing number {n}"] for n, word in enumerate(["a red", "one blue"] * 4)}
    assert len({best_constant_caption(train, seed) for seed in range(8)}) > 2


def test_captions(command):
    rows = [{"image": image, "caption": captions[0]} for image, captions in CAPTIONS.items()]
    texts = ["a red cube stands on the ground", "a dog", "a cat"]
    truth = {"images": [], "annotations": [{"id": n, "image_id": n, "caption": text} for n, text in enumerate(texts)]}
    lines = command("captions", rows, truth)
    assert lines[0].startswith("caption: a red ")
    assert any("CIDEr" in line for line in lines)
    with pytest.raises(UserError, match=r"train_list\.json: has captions of 3 images; a baseline needs 4"):
        command("captions", rows[:3], truth)


def test_weights_count():
    questions = [
        Question("?", "yes", type="exist"),
        Question("?", "2", 0.6, type="count"),
        Question("?", "3", 0.9, type="count"),
        Question("?", "2", 0.6, type="count"),
        Question("?", "3", 0.1),
    ]
    assert most_frequent_answers(questions) == ("2", {"count": "2", "exist": "yes"})


def test_answers(command):
    lines = command("answers", TRAIN, TEST)
    overall, by_type = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert overall[0] == "always 'yes'"
    assert [line.split() for line in overall[2:]] == [
        ["all", "50.00", "4"],
        ["count", "0.00", "2"],
        ["exist", "100.00", "1"],
        ["taste", "100.00", "1"],
    ]
    assert by_type[0] == "count '3', exist 'yes'"
    assert [line.split()[1] for line in by_type[2:]] == ["75.00", "50.00", "100.00", "100.00"]


def test_questions_without_types_or_answers(command):
    without = [{key: value for key, value in row.items() if key != "type"} for row in TRAIN]
    assert "gives no 'type'" in command("answers", without, TEST)[-1]
    test = [{key: value for key, value in row.items() if key != "answer"} for row in TEST]
    with pytest.raises(UserError, match=r"test\.json: question 1 has no 'answer' to score against"):
        command("answers", TRAIN, test)
