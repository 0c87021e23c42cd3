"""Weights that depend on nothing but a parameter's name and shape.

Two implementations of one network that use the same state-dict keys get the same
weights from this, with no file passing between them; so their outputs can be compared.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch


def seeded_tensor(key: str, shape, seed: int = 0) -> torch.Tensor:
    """The float32 tensor that belongs to a state-dict key, or an int64 zero for counters."""
    shape = tuple(shape)
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(key.encode()) + (seed << 32)))
    x = rng.standard_normal(shape).astype(np.float32)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        x = 1 + 0.1 * np.tanh(x)
    elif leaf in ("bias", "in_proj_bias", "running_mean"):
        x = 0.05 * x
    elif len(shape) <= 1:  # the gain of a norm layer
        x = 1 + 0.1 * x
    else:
        x = x / math.sqrt(np.prod(shape[1:]))  # 1/sqrt(fan-in)
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def seeded_state_dict(shapes: Mapping, seed: int = 0) -> dict[str, torch.Tensor]:
    """{key: shape} or a state dict -> {key: seeded tensor}; integer buffers are kept as they are."""
    out = {}
    for key, value in shapes.items():
        if torch.is_tensor(value) and not value.is_floating_point() and not key.endswith("num_batches_tracked"):
            out[key] = value.clone()
        else:
            out[key] = seeded_tensor(key, value.shape if torch.is_tensor(value) else value, seed)
    return out
