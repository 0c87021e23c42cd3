"""Refuses weights that no network can have."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.errors import UserError


def check_weights(state: Mapping[str, Tensor], source: object) -> None:
    """Refuses a state dict with NaN or infinity (`UserError`); names `source`, its file, and the key."""
    for key, value in state.items():
        if not is_finite(value):
            raise UserError(
                f"{source}: '{key}' holds values that are not finite, so the file is damaged or its training "
                "failed; fetch it again, or take another checkpoint"
            )


def is_finite(value: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    if not value.is_floating_point() or not value.numel():
        return True
    if value.element_size() == 1:  # float8 has no arithmetic
        value = value.float()
    return bool(torch.stack(torch.aminmax(value)).isfinite().all())  # NaN is both least and greatest


def no_floats(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """A message for each key with another type in a file than the network's floating point.

    Quantised weights, for instance, mean nothing without their scales.
    """
    return [
        f"'{key}' is {str(state[key].dtype).removeprefix('torch.')}, not floating-point"
        for key, value in expected.items()
        if key in state and value.is_floating_point() and not state[key].is_floating_point()
    ]
