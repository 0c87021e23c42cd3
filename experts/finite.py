"""Network outputs that are NaN or infinite: no label is made of them."""

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from experts.base import Expert, Label, Target


class NotFinite(UserError):
    """The output of a network holds NaN or infinity."""

    def __init__(self, message: str = "the network's output is not finite (NaN or infinity)") -> None:
        super().__init__(message)


def check_finite(*outputs: Any) -> None:
    """Refuses NaN and infinity in numbers, tensors and arrays, alone or in mappings, sequences and dataclasses.

    A backend must call it before it cuts, sorts or counts values, since NaN vanishes there. The results of
    `predict` are always checked.

    Raises:
        NotFinite: a value is not finite.
    """
    if not all(map(_is_finite, outputs)):
        raise NotFinite


def _is_finite(value: Any) -> bool:
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)


def predict_each(expert: Expert, inputs: list[Tensor]) -> list[Any]:
    """The output of each image, or a `NotFinite`. A batch with such an image is repeated image by image."""
    if not inputs:
        return []
    try:
        return expert.predict(inputs)
    except NotFinite as error:
        if len(inputs) == 1:
            return [error]
        return [raw for image in inputs for raw in predict_each(expert, [image])]


def decode_one(expert: Expert, raw: Any, target: Target) -> dict[str, Label]:
    """The labels of an image from its result of `predict_each`.

    Raises:
        NotFinite: the output, or a value computed from it, is not finite.
    """
    if isinstance(raw, NotFinite):
        raise raw
    check_finite(raw)
    labels = expert.decode(raw, target)
    check_finite([label.words for label in labels.values()])
    return labels
