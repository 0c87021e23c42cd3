"""What the goldens (tests/parity/test_dataset_case.py) do not cover."""

import pytest

from dataset.text import as_sentence, clean_caption, clean_question, is_long_question, training_caption
from model.tokenizer import load_tokenizer


@pytest.mark.parametrize("empty", ["", "   ", "?", "..."])
def test_an_empty_question_becomes_a_question_mark(empty: str) -> None:
    assert clean_question(empty) == "?"


PREFIXES = ["A picture of", "A picture of ", " a\tpicture\n", "Caption:", '"A picture of"', "...", "3", "日本 é🎉", ""]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_training_caption_begins_with_the_tokens_of_its_prefix(prefix: str) -> None:
    tokenizer = load_tokenizer("nano/tokenizer")
    start = tokenizer(prefix).input_ids[:-1]
    for caption in ("A red  ball.", "'s hat", "3 dogs", '... "hi"', "\tx", "日本"):
        text = training_caption(prefix, caption)
        ids = tokenizer(text).input_ids
        assert ids[: len(start)] == start
        learned = tokenizer.decode(ids[len(start) : -1])
        assert learned == " " * bool(prefix) + clean_caption(f" {caption}")


def test_the_prefix_stays_and_the_caption_is_cleaned() -> None:
    assert training_caption("A picture of", "A Red  Ball.") == "A picture of a red ball"
    assert training_caption("", "A red ball.") == "a red ball"
    long = training_caption("A picture of", " ".join(["word"] * 60))
    assert len(long.split()) == 63  # the model cuts it by its tokens


@pytest.mark.parametrize(("words", "long"), [("word " * 30, False), ("word " * 31, True), ("a.b" * 30, True)])
def test_a_long_question_is_known(words: str, long: bool) -> None:
    assert is_long_question(words) == long
    assert len(clean_question(words).split(" ")) == min(len(words.replace(".", " ").split()), 30)


def test_only_the_listed_characters_are_replaced() -> None:
    assert clean_caption("a man's black-and-white, 50% photo") == "A man's black-and-white, 50% photo"


@pytest.mark.parametrize("text", [" a RED ball ", "A red ball", "a red ball"])
def test_what_was_generated_becomes_a_sentence(text: str) -> None:
    assert as_sentence(text) == "A red ball."
