"""JSON that other programs would read in another way is refused."""

import json

import pytest

from common.strict_json import parse_json


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"a": 1,\n"a": 2}', 1, "the key 'a' twice"),
        ('[1,\n{"b": NaN}]', 2, "NaN is no finite number"),
        ("[1,\n1e999]", 2, "1e999 is no finite number"),
        ("[1,\n" + "9" * 5000 + "]", 2, "5000 digits"),
        (f"[\n{2**63}]", 2, "more than 64 bits"),
        ('[\n"a\\ud83d"]', 2, "half of a character"),
        ('{"a\\ude00": 1}', 1, "half of a character"),
        ("[" * 100_000, 1, "too many levels"),
        ("", 1, "Expecting value"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=message) as caught:
        parse_json(text)
    assert caught.value.lineno == line


def test_what_can_be_used_is_as_written() -> None:
    content = {"a": [1, -1.5, 1e300, None, True, "\U0001f600é"], "ns": 1_790_000_000_123_456_789, "b": {}}
    assert parse_json(json.dumps(content)) == content
    assert parse_json("\ufeff".encode() + json.dumps(content, ensure_ascii=False).encode()) == content
    assert parse_json('"caf\\udce9.jpg"') == "caf\udce9.jpg"  # the name of a file that is not UTF-8
