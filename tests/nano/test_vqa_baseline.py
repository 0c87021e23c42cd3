"""The answers given without looking: chosen on training questions, scored on test questions."""

import json
import sys

import pytest

from common.errors import UserError
from dataset.questions import Question
from nano import vqa_baseline
from nano.vqa_baseline import most_frequent_answers

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
    """Runs the command on two lists and returns the lines it prints."""

    def run(train, test):
        arguments = ["vqa_baseline"]
        for name, rows in (("train_list", train), ("test_list", test)):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(rows))
            arguments += [f"--{name}", str(path)]
        monkeypatch.setattr(sys, "argv", arguments)
        vqa_baseline.main()
        return capsys.readouterr().out.splitlines()

    return run


def without_type(rows):
    return [{key: value for key, value in row.items() if key != "type"} for row in rows]


def test_weights_count():
    questions = [
        Question("?", "yes", type="exist"),
        Question("?", "2", 0.6, type="count"),
        Question("?", "3", 0.9, type="count"),
        Question("?", "2", 0.6, type="count"),
        Question("?", "3", 0.1),
    ]
    assert most_frequent_answers(questions) == ("2", {"count": "2", "exist": "yes"})


def test_command_prints_both_answers_by_type(command):
    lines = command(TRAIN, TEST)
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


def test_training_questions_without_types(command):
    lines = command(without_type(TRAIN), TEST)
    assert lines[0] == "always 'yes'"
    assert lines[-1].endswith("train_list.json gives no 'type' of its questions, so no answer by type")


def test_test_list_of_the_challenge_has_no_answers(command):
    test = [{key: value for key, value in row.items() if key != "answer"} for row in TEST]
    with pytest.raises(UserError, match=r"test_list\.json: question 1 has no 'answer' to score against"):
        command(TRAIN, test)
