"""Class names, and their embeddings, that semantic and instance labels point into (docs/labels.md)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.errors import UserError, first_line
from common.pickles import FETCH
from model.modalities import EMBEDDING_DIM, modality

BACKGROUND_TABLE = "background"
_CLASSES = Path(__file__).resolve().parent / "classes"


@cache
def class_names(table: str) -> tuple[str, ...]:
    """The names of the classes that the label maps of the released models point into, in order.

    Args:
        table: `coco` (panoptic, 133), `ade` (150) or `detection` (722), a `Modality.classes`.
    """
    return tuple(json.loads((_CLASSES / f"{table}.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class ClassTables:
    """Class names and their embeddings, float32 (classes, 64), by table; the background's embedding, (64,)."""

    labels: dict[str, list[str]]
    features: dict[str, np.ndarray]
    background: np.ndarray


def read_class_tables(folder: Path | str, names: Iterable[str]) -> ClassTables:
    """Reads class tables and the background's embedding.

    Args:
        folder: holds `<name>.npz` (arrays `labels`, `features`) or the released `<name>_features.pt`
            (the same as a pickled dict) for each table, and `background`.
        names: table names, `Modality.classes`.

    Raises:
        UserError: a table is missing or damaged.
    """
    folder = Path(folder)
    labels, features = {}, {}
    for name in dict.fromkeys(names):
        path, content = _read(folder, name)
        if not isinstance(content, dict) or not {"labels", "features"} <= content.keys():
            raise UserError(f"class table {path}: expected 'labels' and 'features'; fetch it again")
        try:
            labels[name] = [str(label) for label in content["labels"]]
        except TypeError:
            labels[name] = []
        if not labels[name]:
            raise UserError(f"class table {path}: 'labels' are no list of names; fetch it again")
        features[name] = _embeddings(path, content["features"], (len(labels[name]), EMBEDDING_DIM))
    path, content = _read(folder, BACKGROUND_TABLE)
    if isinstance(content, dict):
        content = content.get("features")
    return ClassTables(labels, features, _embeddings(path, content, (EMBEDDING_DIM,)))


def class_counts(folder: Path | str, experts: Iterable[str]) -> dict[str, int]:
    """The number of classes of each expert that has classes.

    Raises:
        UserError: see `read_class_tables`.
    """
    tables = {name: table for name in experts if (table := modality(name).classes)}
    if not tables:
        return {}
    labels = read_class_tables(folder, tables.values()).labels
    return {name: len(labels[table]) for name, table in tables.items()}


def _read(folder: Path, name: str) -> tuple[Path, Any]:
    arrays, released = folder / f"{name}.npz", folder / f"{name}_features.pt"
    path = arrays if arrays.is_file() else released
    try:
        if path is arrays:
            with np.load(path, allow_pickle=False) as file:
                return path, dict(file)
        return path, torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"class table {arrays} (or {released.name}) is missing; check class_tables in the config, "
            f"or fetch the released ones with: {FETCH}"
        ) from None
    except Exception as error:  # readers of pickles and archives raise anything
        raise UserError(
            f"class table {path}: damaged ({first_line(error)}); fetch it again (docs/labels.md)"
        ) from None


def _embeddings(path: Path, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        values = values.detach() if isinstance(values, torch.Tensor) else values
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        with np.errstate(over="ignore"):  # too large a number becomes infinite, and is refused
            array = array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"class table {path}: 'features' are not numbers; fetch it again") from None
    if array.shape != shape:
        raise UserError(f"class table {path}: 'features' are {array.shape}, expected {shape}; fetch it again")
    if not np.isfinite(array).all():
        raise UserError(f"class table {path}: 'features' hold NaN or infinity; fetch it again")
    return array
