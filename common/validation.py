"""Plain values, as in JSON and YAML, checked against a dataclass."""

import json
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.errors import UserError, one_line

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
T = TypeVar("T")
_UNKNOWN = "unexpected_keyword_argument"


def validate(content: Any, cls: type[T], where: str, origins: Mapping[str, str] | None = None) -> T:
    """Makes a dataclass of plain values.

    Args:
        content: plain values.
        cls: a dataclass with `__pydantic_config__ = STRICT`.
        where: the beginning of the error message: the file, and its section.
        origins: another beginning for these keys.

    Raises:
        UserError: names the key and the expected value.
    """
    try:
        text = json.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not plain values: {one_line(error)}") from None
    try:
        # Through JSON: strict validation then accepts a list for a tuple, and a text for a path.
        return TypeAdapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        # A misspelt key explains a missing one.
        problem = min(error.errors(), key=lambda problem: problem["type"] != _UNKNOWN)
        origin = (origins or {}).get(str(next(iter(problem["loc"]), "")), where)
        raise UserError(f"{origin}: {_describe(problem, cls)}") from None


def _describe(problem: Mapping[str, Any], cls: type) -> str:
    """A mistake that pydantic found, in one line."""
    key = ".".join(str(part) for part in problem["loc"]) or "the section"
    if problem["type"] == _UNKNOWN:
        if "." in key:
            return f"unknown key '{key}'"
        known = sorted(field.name for field in fields(cls))
        if alike := get_close_matches(key, known, n=1):
            return f"unknown key '{key}'; is '{alike[0]}' meant?"
        return f"unknown key '{key}'; known keys: {', '.join(known) or 'none'}"
    if problem["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"key '{key}' is missing"
    if not problem["loc"] and problem["type"] == "value_error":  # of several keys together
        return problem["msg"].removeprefix("Value error, ")
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    subject = f"key '{key}': " if problem["loc"] else ""
    if problem["type"] == "value_error":
        return f"{subject}{message}"
    if problem["type"] in ("list_type", "tuple_type") and isinstance(problem["input"], str | int | float):
        return f"{subject}should be a list; write [{str(problem['input'])[:100]}]"
    return f"{subject}{message}, got {json.dumps(problem['input'], default=str)[:100]}"
