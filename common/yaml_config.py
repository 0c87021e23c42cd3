"""YAML files read into typed objects.

A file that is missing, a key that is unknown or absent, a value of the wrong type: each is a one-line
`UserError` that names the file, the key and the expected value, before any weight is loaded.
"""

import itertools
import json
import math
import os
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, Field

from common.errors import UserError, one_line
from common.files import open_file
from common.strict_json import is_unicode
from common.validation import validate

T = TypeVar("T")
_MOST_PARTS = 100_000  # of a config, with all aliases


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; name a folder, or . for this one")
    return value


PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Workers = Annotated[int, Field(ge=0, le=1024)]  # processes or threads
Rate = Annotated[float, Field(ge=0)]
# `Path` takes an empty text for the present folder.
NamedPath = Annotated[Path, BeforeValidator(_not_empty)]
Name = Annotated[str, Field(min_length=1)]


class _YamlLoader(yaml.SafeLoader):
    """Reads `5e-5`, a text in YAML 1.1, as a number, and a date as a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012, as in the class above
        letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Refuses a repeated key; PyYAML would take the last."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"key '{twice[0]}' is there twice", problem_mark=node.start_mark)
        return node


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML file whose top level is a mapping."""
    path = Path(path)
    try:
        with open_file(path) as file:
            text = file.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file; those of the project are in configs/") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values at the top level")
    _check_plain(content, str(path), [])
    return content


def _parse(text: bytes, where: str) -> Any:
    try:
        return yaml.load(text.decode("utf-8"), Loader=_YamlLoader)  # a SafeLoader
    except RecursionError:
        raise UserError(f"{where}: not readable as YAML: too many levels") from None
    except Exception as error:  # PyYAML raises anything for a value that does not fit its tag
        problem = one_line(error).replace('in "<unicode string>", ', "at ")
        raise UserError(f"{where}: not readable as YAML: {problem[:200]}") from None


def _check_plain(value: Any, where: str, above: list[Any], count: Iterator[int] | None = None) -> None:
    """Refuses values that JSON lacks: other types and keys, recursion, infinite numbers.

    Args:
        value: a part of a YAML file.
        where: the file, and the key of this part.
        above: the parts around it.
        count: of parts; an alias of an alias of ... can stand for billions.
    """
    count = count or itertools.count()
    if any(value is each for each in above):
        raise UserError(f"{where}: holds itself, by its alias")
    if next(count) > _MOST_PARTS:
        raise UserError(f"{where}: more than {_MOST_PARTS} values, with all aliases")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str) or not is_unicode(key):
                raise UserError(f"{where}: key {key!r} is no text; put it in quotes")
            below = f"{where}.{key}" if above else f"{where}: key {key}"
            _check_plain(part, below, [*above, value], count)
    elif isinstance(value, list):
        for part in value:
            _check_plain(part, where, [*above, value], count)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: {value} is no finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{where}: a whole number of more than 64 bits")
    elif isinstance(value, str) and not is_unicode(value):
        raise UserError(f"{where}: {value!r} is not Unicode")
    elif isinstance(value, str) and "\0" in value:
        raise UserError(f"{where}: holds a zero byte")
    elif value is not None and not isinstance(value, str | int | float):
        raise UserError(f"{where}: a {type(value).__name__} is no value here; write a text, a number or a list")


def _read_changes(changes: Iterable[str]) -> dict[str, Any]:
    """The values of `--set`: `key=value`, the value as in a file; no value is the empty text."""
    found: dict[str, Any] = {}
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator or not key:
            raise UserError(f"--set {change}: write it as key=value")
        if key in found:
            raise UserError(f"--set: key '{key}' is there twice")
        found[key] = _parse(os.fsencode(text), f"--set {key}") if text else ""
        _check_plain([found[key]], f"--set {key}", [])
    return found


def read_config(path: Path | str, cls: type[T], section: str | None = None, changes: Iterable[str] = ()) -> T:
    """Reads a config file, or one section of it, into a dataclass.

    Args:
        path: the YAML file.
        cls: a dataclass with `__pydantic_config__ = STRICT`.
        section: the top-level key to read; None reads the whole file.
        changes: the values of `--set`, as `key=value`; they override the file's.

    Raises:
        UserError: names the file or `--set`, the key and the expected value.
    """
    content: Any = read_yaml(path)
    if section is not None:
        if section not in content:
            raise UserError(f"{path}: no section '{section}'; it has: {', '.join(map(str, content))}")
        content = content[section]
    where = f"{path}" + (f" [{section}]" if section else "")
    if changed := _read_changes(changes):
        where = f"{where}, with --set"
        if isinstance(content, dict):
            content = content | changed
    return validate(content, cls, where, dict.fromkeys(changed, "--set"))


def settings_text(config: Any, args: Namespace) -> str:
    """A task's config as a file for `--config`, with the command in its first line.

    Args:
        config: of the task.
        args: the script's flags; `target_dataset` names the section of the settings.
    """
    content, section = config_as_json(config), vars(args).get("target_dataset")
    text = yaml.safe_dump(content if section is None else {section: content}, sort_keys=False)
    command = " ".join(shlex.join(sys.argv).split())
    return f"# {command}\n{text}"


def config_as_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, to be stored beside results."""
    return json.loads(json.dumps(asdict(config), default=str))
