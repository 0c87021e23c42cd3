"""Depth, normals and edges: the released files' keys, and the original's numbers with seeded weights."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import RuntimeConfig, Target
from experts.depth import dpt
from experts.edge import dexined
from experts.normal import nll_angmf
from tests.parity.released_experts import released, scannet
from tests.parity.seeded_weights import seeded_state_dict

FOLDER = Path(__file__).parent
GOLDENS = FOLDER / "goldens" / "dense"


@pytest.mark.parametrize(
    ("name", "backend", "content"),
    [("depth", dpt, dict), ("normal", nll_angmf, scannet), ("edge", dexined, dict)],
    ids=["depth", "normal", "edge"],
)
def test_outputs_and_labels(name: str, backend: ModuleType, content: Callable, tmp_path: Path):
    (file,) = backend.files([name], backend.Options(), tmp_path)
    torch.save(content(seeded_state_dict(released(name))), file)
    expert = backend.load([name], backend.Options(), RuntimeConfig(torch.device("cpu"), tmp_path))
    image = Image.open(GOLDENS / "image.png").convert("RGB")
    (raw,) = expert.predict([expert.prepare(image)])
    file.unlink()  # half a gigabyte
    with np.load(GOLDENS / "dense.npz") as golden:
        expected, label = golden[f"{name}_raw_every8"], golden[f"{name}_label"]
    error = np.abs(raw[..., ::8, ::8].numpy() - expected).max()
    assert error <= 2e-4 * np.abs(expected).max()

    made = expert.decode(raw, Target((image.height, image.width)))[name].map
    assert (made.shape, made.dtype) == (label.shape, np.uint8)
    difference = np.abs(made.astype(int) - label)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_every_released_key_of_depth_is_used_or_dropped():
    state = {key: torch.empty(shape, device="meta") for key, shape in released("depth").items()}
    converted = dpt.converted(state)
    with torch.device("meta"):
        network = dpt.build_network().state_dict()
    assert {key: x.shape for key, x in converted.items()} == {key: x.shape for key, x in network.items()}
    blocks = 12
    split = 2 * 2 * blocks  # query, key and value for one weight and one bias
    dropped = {"pretrained.model.head.weight", "pretrained.model.head.bias"}
    assert dropped <= set(state)
    assert len(converted) == len(state) - len(dropped) + split


def test_positions_are_resized_but_for_the_class_tokens():
    positions = torch.randn(1, 1 + 24 * 24, 3, generator=torch.Generator().manual_seed(0))
    state = dpt.converted({"pretrained.model.pos_embed": positions})
    (resized,) = state.values()
    assert resized.shape == (1, 901, 3)
    assert torch.equal(resized[:, 0], positions[:, 0])
    # bilinear, corners not aligned: the first cell's centre lies beyond the old one's
    assert torch.equal(resized[0, 1], positions[0, 1])
    assert resized[0, 2].tolist() == pytest.approx(torch.lerp(positions[0, 1], positions[0, 2], 0.7).tolist())


@pytest.mark.parametrize("name", ["normal", "edge"])
def test_every_released_key_of_normals_and_edges_is_the_networks(name: str):
    with torch.device("meta"):
        network = nll_angmf.NormalNetwork() if name == "normal" else dexined.DexiNed(pretrained=False)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == released(name)
