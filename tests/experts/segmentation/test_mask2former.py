"""The released Mask2Former as an expert, and files that are not the released one."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.segmentation import mask2former
from experts.segmentation.expert import SegmentationExpert
from nano.scenes.scene import render_scene
from tests.parity.released_segmentation import reduced_weights, write_released

COCO, ADE = mask2former.FILES["seg_coco"], mask2former.FILES["seg_ade"]
BOTH = ["seg_coco", "seg_ade"]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return reduced_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, np.ndarray]) -> Path:
    """Both released files; that of ADE has the classifier of other classes."""
    folder = tmp_path_factory.mktemp("weights")
    ade = dict(weights)
    for key, values in weights.items():
        if key.startswith(("sem_seg_head.predictor.class_embed.", "criterion.")):
            ade[key] = np.concatenate([values[:50], values[:101]])
    write_released(folder / COCO, weights)
    write_released(folder / ADE, ade)
    return folder


def load(folder: Path, *names: str, dtype: torch.dtype = torch.float32, **options: str) -> SegmentationExpert:
    setting = RuntimeConfig(torch.device("cpu"), folder, dtype)
    return mask2former.load(names, mask2former.Options(**options), setting)


def test_the_network_sees_blue_first_unless_asked_otherwise(folder):
    assert load(folder, "seg_coco").prepare.keywords == {"order": "bgr"}
    assert load(folder, "seg_coco", channel_order="rgb").prepare.keywords == {"order": "rgb"}


def test_one_pass_labels_with_both_networks(folder):
    assert all(path.is_file() for path in mask2former.files(BOTH, mask2former.Options(), folder))
    expert = load(folder, *BOTH)
    pixels = torch.from_numpy(render_scene([5, 9], long_side=64).image.transpose(2, 0, 1).copy())
    raw, other = expert.predict([pixels, pixels[:, :40]])
    labels = expert.decode(raw, Target((20, 30)))
    assert {name: label.map.shape for name, label in labels.items()} == dict.fromkeys(BOTH, (20, 30))
    ((alone,), (cut,)) = (load(folder, "seg_coco").predict([image]) for image in (pixels, pixels[:, :40]))
    assert torch.equal(raw["seg_coco"].values, alone["seg_coco"].values)
    assert torch.equal(other["seg_coco"].values, cut["seg_coco"].values)
    assert raw["seg_ade"].values.shape != raw["seg_coco"].values.shape


def test_in_lower_precision_the_decoders_stay_exact(folder):
    half, whole = (load(folder, "seg_coco", dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    seen = []
    network = half.networks["seg_coco"].args[0]
    network.model.pixel_level_module.encoder.swin.encoder.layers[2].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].dtype)
    )
    with torch.inference_mode():
        classes, masks = half.networks["seg_coco"](pixels)
        exact, _ = whole.networks["seg_coco"](pixels)
    assert seen == [torch.bfloat16]
    assert classes.dtype == masks.dtype == torch.float32
    assert 0 < (classes - exact).abs().max() < 0.1 * exact.abs().max()


OTHER = "not the Mask2Former that is expected there"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone.norm2.weight": None}, f"{OTHER}.*hidden_states_norms.stage3.weight"),
        ({"backbone.patch_embed.proj.weight": None}, f"{OTHER}.*backbone.patch_embed.proj.weight"),
        ({"extra": np.zeros(3)}, f"{OTHER}.*'extra' is no part of a Mask2Former"),
        ({"backbone.norm1.bias": np.zeros(7, np.float32)}, rf"{OTHER}.*stage2.bias is \(7,\), not \(96,\)"),
        ({"backbone.norm1.bias": "x"}, f"{OTHER}.*no attribute 'shape'"),
        ({"backbone.norm1.bias": np.full(96, np.nan, np.float32)}, "stage2.bias' holds values that are not finite"),
        ("another one", r"it knows 150 classes, not 133\); fetch it again"),
        ("cut", "damaged"),
        ("gone", "missing.*download_checkpoints.py"),
    ],
)
def test_a_file_that_is_not_the_released_one_is_named(folder, tmp_path, weights, changes, reason):
    path = tmp_path / COCO
    if changes == "another one":
        path.symlink_to(folder / ADE)
    elif changes == "cut":
        path.write_bytes((folder / COCO).read_bytes()[:100_000])
    elif changes != "gone":
        write_released(path, {key: value for key, value in (weights | changes).items() if value is not None})
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: .*") as error:
        load(tmp_path, "seg_coco")
    assert re.search(reason, str(error.value))
    assert "\n" not in str(error.value)
