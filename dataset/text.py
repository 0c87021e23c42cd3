"""Captions and questions: cleaned as the released models were trained, and written as sentences."""

import re

MAX_WORDS = 30  # of a question, and of a caption beside its image
MOST_WORDS = 512  # of a training caption; no text tower reads more, and the model cuts by tokens
_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


def clean_caption(text: str, words: int = MAX_WORDS) -> str:
    """A caption: first letter up and the rest down, no punctuation, single spaces, at most 30 words."""
    text = re.sub(r"\s{2,}", " ", text.capitalize().translate(_PUNCTUATION)).strip()
    return _cut(text, words)


def training_caption(prefix: str, caption: str) -> str:
    """The prefix unchanged, and the caption cleaned, its first letter small; the model cuts long ones.

    So the text begins with the tokens of the prefix alone, which have no loss and start generation.
    """
    caption = clean_caption(f" {caption}", MOST_WORDS)
    return f"{prefix} {caption}" if prefix and caption else prefix + caption


def clean_question(text: str) -> str:
    """A question: as a caption, but runs of spaces stay, and it ends in `?`."""
    text = _cut(_plain(text))
    return text if text.endswith("?") else f"{text}?"


def is_long_question(text: str) -> bool:
    """Whether a question loses words when it is cleaned."""
    return len(_plain(text).split(" ")) > MAX_WORDS


def as_sentence(text: str) -> str:
    """A generated text as a sentence: capitalised, with a full stop."""
    return text.strip().capitalize() + "."


def _plain(question: str) -> str:
    return question.capitalize().translate(_PUNCTUATION).strip()


def _cut(text: str, words: int = MAX_WORDS) -> str:
    return " ".join(text.split(" ")[:words])
