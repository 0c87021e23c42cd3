"""The released Mask2Former as an expert: what it is given, and what damaged files are told."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.segmentation import mask2former
from experts.segmentation.expert import SegmentationExpert
from nano.scenes.scene import render_scene
from tests.parity.released_segmentation import reduced_weights, write_released

NAME = mask2former.FILES["seg_coco"]
CPU = torch.device("cpu")
BOTH = ["seg_coco", "seg_ade"]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return reduced_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_released(folder / NAME, weights)
    return folder


@pytest.fixture(scope="module")
def expert(folder: Path) -> SegmentationExpert:
    return mask2former.load(["seg_coco"], mask2former.Options(), RuntimeConfig(CPU, folder))


def test_the_network_is_given_blue_first_unless_asked_otherwise(folder):
    image = Image.new("RGB", (30, 20), (250, 120, 10))
    prepared = {}
    for order in ("bgr", "rgb"):
        expert = mask2former.load(["seg_coco"], mask2former.Options(order), RuntimeConfig(CPU, folder))
        prepared[order] = pickle.loads(pickle.dumps(expert.prepare))(image)
    assert prepared["bgr"].shape == (3, 320, 480)
    assert prepared["bgr"].dtype == torch.uint8
    assert prepared["bgr"][:, 0, 0].tolist() == [10, 120, 250]
    assert prepared["rgb"][:, 0, 0].tolist() == [250, 120, 10]


def test_one_pass_labels_with_both_networks(tmp_path, weights, expert):
    ade = dict(weights)
    for key, values in weights.items():
        if key.startswith(("sem_seg_head.predictor.class_embed.", "criterion.")):
            ade[key] = np.concatenate([values[:50], values[:101]])
    write_released(tmp_path / NAME, weights)
    write_released(tmp_path / mask2former.FILES["seg_ade"], ade)
    assert all(path.is_file() for path in mask2former.files(BOTH, mask2former.Options(), tmp_path))
    both = mask2former.load(BOTH, mask2former.Options(), RuntimeConfig(CPU, tmp_path))
    pixels = torch.from_numpy(render_scene([5, 9], long_side=64).image.transpose(2, 0, 1).copy())
    (raw,) = both.predict([pixels])
    labels = both.decode(raw, Target((20, 30)))
    assert {name: label.map.shape for name, label in labels.items()} == dict.fromkeys(BOTH, (20, 30))
    (alone,) = expert.predict([pixels])
    assert torch.equal(raw["seg_coco"].values, alone["seg_coco"].values)
    assert raw["seg_ade"].values.shape != raw["seg_coco"].values.shape


def test_in_lower_precision_the_decoders_stay_exact(folder, expert):
    half = mask2former.load(["seg_coco"], mask2former.Options(), RuntimeConfig(CPU, folder, torch.bfloat16))
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    seen = []
    network = half.networks["seg_coco"].args[0]
    network.model.pixel_level_module.encoder.swin.encoder.layers[2].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].dtype)
    )
    with torch.inference_mode():
        classes, masks = half.networks["seg_coco"](pixels)
        exact, _ = expert.networks["seg_coco"](pixels)
    assert seen == [torch.bfloat16]
    assert classes.dtype == masks.dtype == torch.float32
    assert 0 < (classes - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_truncated_file_is_named(tmp_path, folder):
    path = tmp_path / NAME
    path.write_bytes((folder / NAME).read_bytes()[:100_000])
    assert _message(path).startswith(f"{path}: damaged")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: weights.pop("backbone.norm2.weight"), "hidden_states_norms.stage3.weight"),
        (lambda weights: weights.pop("backbone.patch_embed.proj.weight"), "backbone.patch_embed.proj.weight"),
        (lambda weights: weights.update(extra=np.zeros(3)), "'extra' is no part of a Mask2Former"),
        (
            lambda weights: weights.update({"backbone.norm1.bias": np.zeros(7, np.float32)}),
            r"stage2.bias is \(7,\), not \(96,\)",
        ),
        (lambda weights: weights.update({"backbone.norm1.bias": "x"}), "no attribute 'shape'"),
    ],
)
def test_a_file_of_another_network_is_named(tmp_path, weights, change, reason):
    changed = dict(weights)
    change(changed)
    write_released(tmp_path / NAME, changed)
    message = _message(tmp_path / NAME)
    assert message.startswith(f"{tmp_path / NAME}: not the Mask2Former that is expected there")
    assert re.search(reason, message)


def test_weights_that_are_not_finite_are_named(tmp_path, weights):
    write_released(tmp_path / NAME, weights | {"backbone.norm1.bias": np.full(96, np.nan, np.float32)})
    assert "stage2.bias' holds values that are not finite" in _message(tmp_path / NAME)


def test_a_file_of_other_classes_is_named(folder, tmp_path):
    (tmp_path / mask2former.FILES["seg_ade"]).symlink_to(folder / NAME)
    with pytest.raises(UserError, match=r"it knows 133 classes, not 150\); fetch it again"):
        mask2former.load(["seg_ade"], mask2former.Options(), RuntimeConfig(CPU, tmp_path))


def _message(path: Path) -> str:
    with pytest.raises(UserError) as error:
        mask2former.read_network(path, 133)
    assert "\n" not in str(error.value)
    return str(error.value)
