"""Names of the classes that the label maps of the released models point into, in order."""

import json
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "classes"


@cache
def class_names(table: str) -> tuple[str, ...]:
    """The names in a class table.

    Args:
        table: `coco` (panoptic, 133), `ade` (150) or `detection` (722), a `Modality.classes`.
    """
    return tuple(json.loads((_FOLDER / f"{table}.json").read_text(encoding="utf-8")))
