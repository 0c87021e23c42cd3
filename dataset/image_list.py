"""Lists of images with their texts: JSON, JSON lines or CSV, each row checked."""

import ast
import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from common.errors import UserError
from common.files import open_file
from common.strict_json import JSONDecodeError, is_unicode, parse_json
from dataset.location import Url, as_location
from dataset.shards.shard_folder import ShardFile

Split = Literal["train", "test"]
# Programs write these into a cell for "no value". An answer may be "none", so only these spellings count.
_NO_VALUE = {"nan", "NaN", "NAN", "NaT", "<NA>", "#N/A", "null", "NULL", "None"}
_TEXTS = ("caption", "question", "answer", "type", "question_type")
_IDS = ("question_id", "img_id")


def check_data_path(path: Path | Url | str) -> Path | Url:
    """The place of a data set's lists and images; a folder that is missing is a `UserError`."""
    place = as_location(path)
    if isinstance(place, Path) and not place.is_dir():
        raise UserError(f"data_path {path} is missing; create it or change data_path in the config")
    return place


def custom_list(split: Split, train_list: str | None, test_list: str | None) -> str:
    """The list of a data set of your own, absolute or relative to its data_path."""
    name = train_list if split == "train" else test_list
    if name is None:
        raise UserError(f"config key {split}_list is missing: a custom data set needs it to {split}")
    return name


def read_list(path: Path | Url, required: tuple[str, ...], may_be_empty: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Reads a list; the suffix tells its format.

    Args:
        path: `.json` (an array of objects), `.jsonl` (an object a line) or `.csv` (a header line).
        required: keys that every row must have, besides `image`; texts must not be empty.
        may_be_empty: those of them whose text may be.

    Returns:
        The rows, in order.

    Raises:
        UserError: names the file and, where there is one, the row at fault.
    """
    readers = {".json": _json_rows, ".jsonl": _json_line_rows, ".csv": _csv_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"list {path}: unknown format '{path.suffix}'; use {', '.join(readers)}")
    rows = []
    for where, row in reader(path, read_text(path)):
        _check(row, required, may_be_empty, f"list {path}, {where}")
        rows.append(row)
    if not rows:
        raise UserError(f"list {path}: it has no rows")
    return rows


def read_text(path: Path | Url | ShardFile) -> str:
    """A whole text file in UTF-8, with or without a byte order mark."""
    try:
        if isinstance(path, Path):
            with open_file(path) as file:
                raw = file.read()
        else:
            raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"list {path}: {error.strerror}; check data_path and the config") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"list {path}, line {line}: not UTF-8; save the file in that encoding") from None


def read_json(path: Path | Url) -> Any:
    """The content of a JSON file; a file that is not JSON, or has a key twice, is a `UserError`."""
    return _parsed(path, read_text(path))


def _parsed(path: Path | Url, text: str, line: int | None = None) -> Any:
    try:
        return parse_json(text)
    except JSONDecodeError as error:
        raise UserError(f"list {path}, line {line or error.lineno}: not JSON ({error.msg})") from None


def _json_rows(path: Path | Url, text: str) -> Iterator[tuple[str, Any]]:
    rows = _parsed(path, text)
    if not isinstance(rows, list):
        raise UserError(f"list {path}: expected an array of objects, found {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _json_line_rows(path: Path | Url, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if line.strip():
            yield f"line {number}", _parsed(path, line, number)


def _csv_rows(path: Path | Url, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        names = [name for name in reader.fieldnames or () if name]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"list {path}, line 1: two columns are named '{twice[0]}'; rename one")
        if len(names) == 1 and (other := re.search("[;\t|]", names[0])):
            raise UserError(f"list {path}, line 1: columns are separated by {other[0]!r}; use commas")
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row:
                raise UserError(
                    f"list {path}, {where}: more columns than the header; put texts with commas in double quotes"
                )
            for name in ("image", *_TEXTS, *_IDS):
                if reason := _no_text(row.get(name)):
                    raise UserError(f"list {path}, {where}: '{name}' is {row[name]}, {reason}")
            rows.append((where, row))
    except csv.Error as error:
        raise UserError(f"list {path}, line {reader.line_num}: not CSV ({error})") from None
    for name in _IDS:  # a CSV has texts alone, but an evaluation server compares numbers
        # Whole numbers as programs write them, perhaps with `.0`; not 007, which is a text.
        if all(re.fullmatch(r"(0|-?[1-9][0-9]{0,17})(\.0)?", row.get(name) or "") for _, row in rows):
            for _, row in rows:
                row[name] = int(row[name].removesuffix(".0"))
    yield from rows


def _no_text(cell: str | None) -> str | None:
    """Why a cell of a CSV is no text."""
    if cell in _NO_VALUE:
        return "which stands for no value; leave the row out or fill it in"
    # A list as Python writes it, or as JSON; a text may begin with a bracket, too.
    if cell and cell.lstrip()[:1] in ("[", "{") and any(_parses(how, cell) for how in (ast.literal_eval, parse_json)):
        return "not one text; give each text a row of its own, or write the list as .json"
    return None


def _parses(parse: Callable[[str], Any], cell: str) -> bool:
    try:
        parse(cell.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _check(row: Any, required: tuple[str, ...], may_be_empty: tuple[str, ...], where: str) -> None:
    """Refuses a row that is no sample, and writes its image's path in one way."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object, found {type(row).__name__}")
    for key in ("image", *required):
        if row.get(key) in (None, "", []) and not (key in may_be_empty and key in row):
            raise UserError(f"{where}: '{key}' is missing or empty; it has: {', '.join(row) or 'no keys'}")
    image = row["image"]
    if not isinstance(image, str):
        raise UserError(f"{where}: 'image' must be a path, found {type(image).__name__}")
    if PurePosixPath(image).is_absolute() or ".." in PurePosixPath(image).parts:
        raise UserError(f"{where}: image '{image}' must be a path below the image folder (data_path)")
    row["image"] = PurePosixPath(image).as_posix()  # `./a.jpg` is `a.jpg`
    if not all(isinstance(caption, str) and caption.strip() for caption in captions_of(row)):
        raise UserError(f"{where}: 'caption' must be text, or a list of texts, none of them empty")
    for key in _TEXTS:  # not the image: a file's name may hold bytes that are not UTF-8
        if (value := row.get(key)) and not all(map(is_unicode, value if isinstance(value, list) else [value])):
            raise UserError(f"{where}: '{key}' is {value!r}, which is not Unicode; write it anew")


def checked_id(value: Any, key: str, where: str) -> int | str:
    """A value that names a row in the results; refuses one that is neither a whole number nor a text."""
    if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
        raise UserError(f"{where}: '{key}' must be a number or a text, found {value!r}")
    return value


def captions_of(row: dict[str, Any]) -> list[str]:
    """The captions of a row: one, a list, or none."""
    caption = row.get("caption")
    if caption in (None, ""):
        return []
    return caption if isinstance(caption, list) else [caption]
