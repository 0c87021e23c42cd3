"""Lists in three formats, and the messages about mistakes."""

from pathlib import Path

import pytest

from common.errors import UserError
from dataset.image_list import captions_of, read_list

ROWS = [{"image": "a/1.jpg", "caption": "one, two"}, {"image": "a/2.jpg", "caption": "zwölf"}]
CAPTIONS = {
    "list.json": '[{"image": "a/1.jpg", "caption": "one, two"}, {"image": "a/2.jpg", "caption": "zwölf"}]',
    "list.jsonl": '{"image": "a/1.jpg", "caption": "one, two"}\n\n{"image": "a/2.jpg", "caption": "zwölf"}\n',
    "list.csv": 'image,caption\na/1.jpg,"one, two"\na/2.jpg,zwölf\n',
    "mac.csv": 'image,caption\ra/1.jpg,"one, two"\r./a//2.jpg,zwölf\r',
    "mac.jsonl": '{"image": "a/1.jpg", "caption": "one, two"}\r{"image": "./a/2.jpg", "caption": "zwölf"}',
    "LIST.CSV": '\ufeffimage,caption\r\na/1.jpg,"one, two"\r\na/2.jpg,zwölf\r\n',
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_the_formats_say_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CAPTIONS[name].encode())
    assert read_list(tmp_path / name, ("caption",)) == ROWS


def test_questions_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "vqa.csv"
    path.write_text("image,question,answer\n1.jpg,what?,a cat\n")
    assert read_list(path, ("question", "answer")) == [{"image": "1.jpg", "question": "what?", "answer": "a cat"}]


def test_brackets_may_begin_a_caption(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,[man riding] a horse\n")
    assert read_list(tmp_path / "a.csv", ("caption",))[0]["caption"] == "[man riding] a horse"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["393225003", "0"], [393225003, 0]),
        (["1.0", "2.0"], [1, 2]),  # as pandas writes them if one is missing
        (["007", "8"], ["007", "8"]),
        (["a", "8"], ["a", "8"]),
    ],
)
def test_ids_of_a_csv_are_numbers_if_all_are(tmp_path: Path, cells: list[str], expected: list) -> None:
    (tmp_path / "a.csv").write_text("image,question_id\n" + "".join(f"a.jpg,{cell}\n" for cell in cells))
    assert [row["question_id"] for row in read_list(tmp_path / "a.csv", ())] == expected


def test_captions_may_be_one_several_or_none() -> None:
    assert captions_of({"caption": "a"}) == ["a"]
    assert captions_of({"caption": ["a", "b"]}) == ["a", "b"]
    assert captions_of({}) == captions_of({"caption": ""}) == []


WRONG = {
    "unknown suffix": ("list.txt", b"a", "unknown format '.txt'"),
    "invalid JSON": ("list.json", b'[\n{"image": }]', "line 2: not JSON"),
    "not an array": ("list.json", b'{"image": "a"}', "expected an array of objects, found dict"),
    "no rows": ("list.json", b"[]", "has no rows"),
    "header only": ("list.csv", b"image,caption\n", "has no rows"),
    "empty file": ("list.csv", b"", "has no rows"),
    "a row that is no object": ("list.json", b'[{"image": "a", "caption": "b"}, 3]', "row 2: expected an object"),
    "a key is missing": ("list.jsonl", b'{"image": "a"}', "line 1: 'caption' is missing or empty"),
    "image is missing": ("list.csv", b"file,caption\na,b\n", "line 2: 'image' is missing or empty"),
    "a short CSV row": ("list.csv", b"image,caption\na,b\na\n", "line 3: 'caption' is missing or empty"),
    "a bare comma": ("list.csv", b"image,caption\na,b, c\n", "line 2: more columns than the header"),
    "an open quote": ("list.csv", b'image,caption\na,"b\n', "not CSV"),
    "invalid JSON line": ("list.jsonl", b'{"image": "a", "caption": "b"}\n{', "line 2: not JSON"),
    "not UTF-8": ("list.csv", b"image,caption\na,b\na,caf\xe9\n", "line 3: not UTF-8"),
    "a caption that is a number": ("list.json", b'[{"image": "a", "caption": 3}]', "row 1: 'caption' must be"),
    "an empty caption": ("list.json", b'[{"image": "a", "caption": ["b", " "]}]', "row 1: 'caption' must be"),
    "an image that is a number": ("list.json", b'[{"image": 3, "caption": "b"}]', "row 1: 'image' must be"),
    "a list in a cell": ("list.csv", b"image,caption\na,\"['b', 'c']\"\n", "line 2: 'caption' is ['b', 'c'], not one"),
    "an object in a cell": ("list.csv", b'image,caption\na,{"b": 1}\n', "'caption' is {\"b\": 1}, not one text"),
    "no value in a cell": ("list.csv", b"image,caption\na,b\na,nan\n", "line 3: 'caption' is nan, which stands for"),
    "a list of JSON in a cell": ("list.csv", b'image,caption\na,"[""b"", null]"\n', "not one text"),
    "an id that is no value": ("list.csv", b"image,caption,img_id\na,b,nan\n", "'img_id' is nan, which"),
    "two columns of a name": ("list.csv", b"image,caption,caption\na,b,c\n", "two columns are named 'caption'"),
    "a key that is there twice": (
        "list.json",
        b'[{"image": "a", "caption": "b"},\n{"image": "c", "caption": "b", "caption": "d"}]',
        "line 2: not JSON (an object has the key 'caption' twice",
    ),
    "semicolons": ("list.csv", b"image;caption\na;b\n", "line 1: columns are separated by ';'; use commas"),
    "NaN": ("list.json", b'[{"image": "a", "caption": NaN}]', "line 1: not JSON (NaN is no finite number)"),
    "a boolean": ("list.json", b'[{"image": "a", "caption": false}]', "row 1: 'caption' must be text"),
    "an absolute path": ("list.json", b'[{"image": "/a.jpg", "caption": "b"}]', "must be a path below"),
    "a path that climbs": ("list.json", b'[{"image": "../a.jpg", "caption": "b"}]', "must be a path below"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_name_file_and_row(tmp_path: Path, case: str) -> None:
    name, content, message = WRONG[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_list(tmp_path / name, ("caption",))
    assert str(tmp_path / name) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list .*none\.json: No such file"):
        read_list(tmp_path / "none.json", ())
