"""VQA accuracy by hand-made cases; tests/parity/test_vqa_accuracy.py holds it against another program."""

import pytest

from common.errors import UserError
from dataset.questions import Question
from helpers.evaluation.vqa_accuracy import answer_accuracy, normalise, score_answers
from nano.scenes.questions import answer_list


def people(*counts: int) -> list[str]:
    """Answers of so many people each: a0, b1, c2, ..."""
    return [f"{chr(ord('a') + i)}{i}" for i, count in enumerate(counts) for _ in range(count)]


@pytest.mark.parametrize(("agree", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1), (10, 1)])
def test_ten_people(agree, accuracy):
    assert answer_accuracy("a0", people(agree, 10 - agree)) == pytest.approx(accuracy)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_of_a_few_people_it_is_the_share(number):
    for agree in range(number + 1):
        assert answer_accuracy("a0", people(agree, number - agree)) == pytest.approx(agree / number)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Dog.", "dog"),
        ("dog" + "." * 32, "dog"),
        ("dog" + "." * 34, "dog.."),  # the evaluator removes 32
        ("two", "2"),
        ("None", "0"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("lets", "lets"),
        ("x-ray", "x ray"),
        ("x - ray", "x ray"),
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("x-ray of 1,000", "xray of 1000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("a.m.", "am"),
        ("12:30", "12:30"),
        ("left\nside\t", "left side"),
        ("what?", "what"),
        ("", ""),
    ],
)
def test_normal_form(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("answer", "people", "accuracy"),
    [
        ("t-shirt", ["t-shirt"] * 10, 1),
        ("1,000", ["1,000"] * 3, 1),
        ("the\tbeach\n", [" the beach"] * 10, 1),  # white space alone is evened out
        ("the  beach", ["the beach"] * 10, 0),
        ("Yes", ["yes"] * 10, 0),
        ("black.", ["black"] * 2, 0),
        ("two", ["2"] * 10, 0),
        ("two", ["two"] * 9 + ["2"], 1),  # not all wrote the same
        ("Two.", ["two"], 1),  # one person alone agrees with nobody
    ],
)
def test_where_all_agree_both_texts_are_compared_as_written(answer, people, accuracy):
    assert answer_accuracy(answer, people) == accuracy


def test_answers_of_scenes_are_in_normal_form():
    """All ten people of Scenes agree, so answers are compared as written."""
    assert [normalise(answer) for answer in answer_list()] == answer_list()


def asked(answers: list[str], kind: str | None = None) -> Question:
    return Question("what?", references=tuple(answers), type=kind)


def test_scores_overall_and_by_type():
    references = {
        7: asked(["yes"] * 10, "exist"),
        8: asked(["2"] * 2 + ["3"] * 8, "count"),
        9: asked(["4"], "count"),
        "x": asked(["cat"]),
    }
    answers = {"x": "a cat", 9: "four", 8: "two", 7: "no"}
    scores = score_answers([{"question_id": k, "answer": v} for k, v in answers.items()], references)
    assert scores.accuracy == pytest.approx((0 + 0.6 + 1 + 1) / 4)
    assert scores.by_type == {"count": (pytest.approx(0.8), 2), "exist": (0, 1)}
    assert scores.table().splitlines() == [
        "      accuracy questions",
        "all      65.00        4",
        "count    80.00        2",
        "exist     0.00        1",
    ]


def test_results_are_paired_with_their_questions():
    """tests/helpers/evaluation/test_caption_metrics.py has the other mistakes."""
    with pytest.raises(UserError, match="1 results repeat the question_id of another; give each question one answer"):
        score_answers([{"question_id": key, "answer": "a"} for key in (1, 1)], {1: asked(["a"])})
    with pytest.raises(UserError, match="no reference answers to score against"):
        score_answers([], {})
