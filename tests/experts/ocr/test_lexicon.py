"""What is believed."""

import pytest

from common.errors import UserError
from experts.ocr.charnet import Lexicon, read_lexicon

WORDS = Lexicon(["at", "Step", "stop", "MARKET", "motorway", "STEP"])


@pytest.mark.parametrize(
    ("text", "score", "believed"),
    [
        ("STOP", 0.79, None),  # too unsure, though a word
        ("STOP", 0.80, "STOP"),
        ("XQZVK", 0.97, None),
        ("XQZVK", 0.98, "XQZVK"),  # sure enough to be no word
        ("24H", 0.90, "24H"),  # not letters alone
        ("24H", 0.89, None),
        ("M4RKET", 0.85, "MARKET"),
        ("STQP", 0.90, "STEP"),  # as near as STOP, and before it in the file
        ("MBRKEX", 0.90, "MARKET"),  # two edits in six letters
        ("SOAP", 0.90, None),  # two edits in four
        ("MARKE", 0.90, "MARKET"),  # one in five
        ("MXRKE", 0.90, None),
        ("AT", 0.90, "AT"),
        ("AS", 0.90, None),  # not one edit in two
        ("MOTTORWAYS", 0.90, "MOTORWAY"),
        ("MOTTTORWAYS", 0.90, None),
    ],
)
def test_readings(text, score, believed):
    assert WORDS.believed(text, score) == believed


def test_comments_and_empty_lines_are_no_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# a list\nStop\r\n\n  \nexit\n")
    assert read_lexicon(path).words == ["STOP", "EXIT"]


@pytest.mark.parametrize("content", [None, b"# nothing\n", b"\xff\xfe\x00s"])
def test_a_file_without_words_is_one_line(tmp_path, content):
    path = tmp_path / "GenericVocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"GenericVocabulary.txt: .*download_checkpoints.py") as error:
        read_lexicon(path)
    assert "\n" not in str(error.value)
