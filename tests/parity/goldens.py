"""The numbers of the original implementation, and the tiny networks they belong to."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.config import PrismerConfig, TextConfig, VisionConfig
from model.modules.label_map import LabelMap
from tests.parity.seeded_weights import seeded_state_dict

FOLDER = Path(__file__).parent / "goldens" / "core"
EXPERTS = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
NETWORKS = [(patch, name) for patch in (16, 14) for name in ("prismer", "prismerz")]
TEXT = TextConfig(hidden_size=128, layers=2, heads=2, ffn_size=256, vocab_size=378, max_positions=66)


@cache
def golden(patch: int, name: str, task: str = "caption") -> Mapping[str, np.ndarray]:
    """All arrays of a tiny network, by key."""
    with np.load(FOLDER / f"tiny{patch}_{name}_{task}.npz") as file:
        return dict(file)


def config(patch: int, name: str) -> PrismerConfig:
    """The configuration of a tiny network."""
    return PrismerConfig(
        vision=VisionConfig(width=128, layers=2, heads=2, patch_size=patch),
        text=TEXT,
        experts=EXPERTS if name == "prismer" else (),
        image_resolution={16: 96, 14: 56}[patch],
        label_resolution={16: 64, 14: 56}[patch],
    )


def inputs(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor | LabelMap]:
    """The model's input."""
    inputs: dict[str, Tensor | LabelMap] = {"rgb": torch.from_numpy(arrays["rgb"])}
    for name in EXPERTS:
        if f"{name}_index" in arrays:
            inputs[name] = LabelMap(*(torch.from_numpy(arrays[f"{name}_{part}"]) for part in ("index", "table")))
        elif name in arrays:
            inputs[name] = torch.from_numpy(arrays[name])
    return inputs


def instance_indices(arrays: Mapping[str, np.ndarray]) -> Tensor:
    """The row of the instance embedding that the original drew for each id, (256,); 0 for absent ids."""
    indices = torch.zeros(256, dtype=torch.int64)
    if "instance_values" in arrays:
        indices[arrays["instance_values"].astype(int)] = torch.from_numpy(arrays["instance_indices"])
    return indices


def seed(model: nn.Module, prefix: str = "") -> nn.Module:
    """Fills a model with the seeded weights of its keys (after `prefix`); returns it in eval mode."""
    keys = {prefix + key: value for key, value in model.state_dict().items()}
    model.load_state_dict({key.removeprefix(prefix): value for key, value in seeded_state_dict(keys).items()})
    return model.eval()


def assert_matches(actual: Tensor, expected: np.ndarray, tolerance: float = 2e-4) -> None:
    """Holds a tensor against a golden, relative to the golden's scale."""
    assert tuple(actual.shape) == expected.shape
    error = np.abs(actual.detach().numpy() - expected).max()
    assert error <= tolerance * np.abs(expected).max(), f"off by {error} of {np.abs(expected).max()}"
