"""Numbers that are none: where a network's output is NaN or infinite there is no label."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from experts.base import Expert, Label, Target


class NotFinite(UserError):
    """A network's output holds NaN or infinity, so no label can be made of it."""

    def __init__(self, message: str = "the network's output is not finite (NaN or infinity)") -> None:
        super().__init__(message)


def check_finite(*outputs: Any) -> None:
    """Refuses NaN and infinity.

    A backend calls it wherever it cuts, sorts or counts values, since such values vanish there. Only what
    `predict` returns needs no call.

    Args:
        outputs: numbers, tensors and arrays, alone or in mappings, sequences and dataclasses.

    Raises:
        NotFinite: a value is not finite.
    """
    if not all(map(_is_finite, _values(outputs))):
        raise NotFinite


def _values(output: Any) -> Iterator[Any]:
    if isinstance(output, Mapping):
        output = list(output.values())
    elif is_dataclass(output):
        output = [getattr(output, field.name) for field in fields(output)]
    if isinstance(output, list | tuple):
        for part in output:
            yield from _values(part)
    else:
        yield output


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)


def predict_each(expert: Expert, inputs: list[Tensor]) -> list[Any]:
    """The raw output of each image; `NotFinite` in its place where it is not finite.

    A batch in which an image fails is done again image by image.
    """
    if not inputs:
        return []
    try:
        return expert.predict(inputs)
    except NotFinite as error:
        if len(inputs) == 1:
            return [error]
        return [raw for image in inputs for raw in predict_each(expert, [image])]


def decode_one(expert: Expert, raw: Any, target: Target) -> dict[str, Label]:
    """The labels of an image.

    Args:
        expert: whose labels.
        raw: one of the results of `predict_each`.
        target: the image.

    Raises:
        NotFinite: the network's output, or what became of it, is not finite.
    """
    if isinstance(raw, NotFinite):
        raise raw
    check_finite(raw)
    labels = expert.decode(raw, target)
    check_finite([label.words for label in labels.values()])
    return labels
