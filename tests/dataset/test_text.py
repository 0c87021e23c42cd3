"""What the goldens (tests/parity/test_dataset_case.py) do not cover."""

import pytest

from dataset.text import MAX_WORDS, clean_caption, clean_question, training_caption


@pytest.mark.parametrize("empty", ["", "   ", "?", "..."])
def test_an_empty_question_becomes_a_question_mark(empty: str) -> None:
    assert clean_question(empty) == "?"


def test_prefix_and_caption_are_cleaned_together() -> None:
    assert training_caption("A picture of", "A Red  Ball.") == "A picture of a red ball"
    long = training_caption("A picture of", " ".join(["word"] * 60))
    assert len(long.split()) == MAX_WORDS


def test_without_prefix_the_first_letter_is_small() -> None:
    assert training_caption("", "A red ball.") == "a red ball"


def test_only_the_listed_characters_are_replaced() -> None:
    assert clean_caption("a man's black-and-white, 50% photo") == "A man's black-and-white, 50% photo"
