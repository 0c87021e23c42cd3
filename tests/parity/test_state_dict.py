"""Keys, their order, shapes and parameter counts are those of the released networks."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from model.config import PrismerConfig, TextConfig, VisionConfig
from model.prismer import Prismer
from tests.parity.goldens import EXPERTS

SPECS = Path(__file__).parent / "state_dict_specs"
SIZES = yaml.safe_load((Path(__file__).parents[2] / "configs" / "models.yaml").read_text())


@cache
def network(kind: str, size: str, resolution: int) -> Prismer:
    """A network of released size, without memory."""
    config = PrismerConfig(
        vision=VisionConfig(**SIZES[f"prismer_{size}"]["vision"]),
        text=TextConfig(**SIZES[f"prismer_{size}"]["text"]),
        experts=EXPERTS if kind == "prismer" else (),
        image_resolution=resolution,
    )
    with torch.device("meta"):
        return Prismer(config, tokenizer=None)


@pytest.mark.parametrize("resolution", [224, 480])
@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("kind", ["prismer", "prismerz"])
def test_keys_and_shapes(kind, size, resolution):
    released = json.loads(gzip.decompress((SPECS / f"{kind}_{size}_{resolution}.json.gz").read_bytes()))
    ours = {key: list(value.shape) for key, value in network(kind, size, resolution).state_dict().items()}
    assert ours == released
    assert list(ours) == list(released)


@pytest.mark.parametrize(
    ("kind", "size", "millions"),
    [
        ("prismer", "base", 328.0),
        ("prismer", "large", 968.1),
        ("prismerz", "base", 274.9),
        ("prismerz", "large", 873.8),
    ],
)
def test_parameter_counts(kind, size, millions):
    parameters = network(kind, size, 480).parameters()
    assert sum(p.numel() for p in parameters) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("mode", "millions"), [("freeze_lang_vision", 157.9), ("freeze_vision", 243.0)])
def test_trainable_parameter_counts(mode, millions):
    model = network("prismer", "base", 480)
    model.freeze(mode)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6 == pytest.approx(millions, abs=0.05)
