"""Plain values, as JSON and YAML hold them, checked against a dataclass."""

import json
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from model.errors import UserError, one_line

T = TypeVar("T")


def validate(content: Any, cls: type[T], where: str) -> T:
    """Makes a dataclass of plain values.

    Args:
        content: plain values.
        cls: a dataclass with `__pydantic_config__ = STRICT`.
        where: begins the error message: the file, and what of it.

    Raises:
        UserError: names the key and what was expected.
    """
    try:
        text = json.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not plain values: {one_line(error)}") from None
    try:
        # Through JSON, since strict validation then still takes a list for a tuple, a string for a path.
        return TypeAdapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_describe(error, cls)}") from None


def _describe(error: ValidationError, cls: type) -> str:
    """The first mistake that pydantic found, in one line."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"]) or "the section"
    if problem["type"] == "unexpected_keyword_argument":
        known = ", ".join(sorted(field.name for field in fields(cls)))
        return f"unknown key '{key}'" + (f"; known keys: {known or 'none'}" if "." not in key else "")
    if problem["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"key '{key}' is missing"
    if not problem["loc"] and problem["type"] == "value_error":  # of several keys together
        return problem["msg"].removeprefix("Value error, ")
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    subject = f"key '{key}': " if problem["loc"] else ""
    if problem["type"] == "value_error":
        return f"{subject}{message}"
    return f"{subject}{message}, got {json.dumps(problem['input'], default=str)[:100]}"
