"""The backend `depth_anything` with a tiny network in the hub's format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.depth import depth_anything
from experts.depth.depth_anything import Options
from tests.parity.goldens import seed

SETTING = RuntimeConfig(torch.device("cpu"), Path())
SIDE = 56


def tiny(kind: str = "relative") -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(
        image_size=SIDE,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type=kind,
    )
    return seed(DepthAnythingForDepthEstimation(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_the_network_sees_what_its_own_processor_shows_it(folder):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    processor = DPTImageProcessor(do_resize=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = tiny()(**processor(image, return_tensors="pt")).predicted_depth[0]
    expert = depth_anything.load(["depth"], Options(str(folder)), SETTING)
    (raw,) = expert.predict([expert.prepare(image)])
    assert expected.std() > 1e-3
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-5)
    assert expert.decode(raw, Target((30, 40)))["depth"].map.shape == (30, 40)


def test_its_files_are_those_of_the_folder(folder):
    files = depth_anything.files(["depth"], Options(str(folder)), Path())
    assert [file.name for file in files] == ["config.json", "model.safetensors"]
    assert all(file.is_file() for file in files)
    assert depth_anything.files(["depth"], Options(), Path()) == []


def test_metres_are_refused(tmp_path):
    tiny("metric").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="predicts metres; name one of inverse depth"):
        depth_anything.load(["depth"], Options(str(tmp_path)), SETTING)
