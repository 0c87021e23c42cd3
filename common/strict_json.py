"""Strict JSON: refuses content that another program would read in another way."""

import json
import math
import re
from json import JSONDecodeError
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MOST_DIGITS = 20  # of a number that may fit into 64 bits


def parse_json(content: str | bytes) -> Any:
    """Parses JSON.

    Args:
        content: the text, or its bytes in UTF-8, with or without a byte order mark.

    Raises:
        JSONDecodeError: it is no JSON, or has a key twice, a number that is not finite or needs more than 64
            bits, half a Unicode character (except bytes of a file's name that is not UTF-8), or too many
            levels; with the line.
        UnicodeDecodeError: it is not UTF-8. Both are a `ValueError`.
    """
    text = (content.decode("utf-8") if isinstance(content, bytes) else content).removeprefix("\ufeff")

    def fault(reason: str, snippet: str) -> JSONDecodeError:
        return JSONDecodeError(reason, text, max(text.find(snippet), 0))

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            snippet = json.dumps(pairs[0][1], ensure_ascii=False)
            raise fault(f"an object has the key '{twice}' twice; remove one", snippet)
        return found

    def as_int(digits: str) -> int:
        number = int(digits) if len(digits) <= _MOST_DIGITS else 2**64
        if not -(2**63) <= number < 2**63:
            raise fault(f"a whole number of {len(digits)} digits, which needs more than 64 bits", digits)
        return number

    def as_float(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise fault(f"{digits[:20]} is no finite number", digits)
        return number

    def as_constant(name: str) -> None:
        raise fault(f"{name} is no finite number", name)

    try:
        found = json.loads(
            text, object_pairs_hook=as_dict, parse_int=as_int, parse_float=as_float, parse_constant=as_constant
        )
        if half := _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise JSONDecodeError(f"{half[0]}.. is half of a character", text, half.start()) from None
    except RecursionError:
        raise JSONDecodeError("too many levels of brackets", text, 0) from None
    return found


def is_unicode(text: Any) -> bool:
    """Whether a text has only whole characters; a value that is no text passes."""
    try:
        return text.isascii() or bool(text.encode())
    except AttributeError:
        return True
    except UnicodeEncodeError:
        return False
