"""The released Mask2Former: every weight has its place, and the numbers are the original's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import Mask2FormerForUniversalSegmentation

from experts.base import RuntimeConfig, Target
from experts.batches import normalise
from experts.hub_networks import quiet
from experts.segmentation import mask2former
from experts.segmentation.detectron2_keys import RULES
from experts.segmentation.expert import UNUSED, SegmentationExpert, semantic_scores
from experts.weight_loading import new_names
from tests.parity.goldens import assert_matches
from tests.parity.released_segmentation import reduced_weights, segmentation_spec, write_released

FOLDER = Path(__file__).parent / "goldens" / "det"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "seg_reduced.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> SegmentationExpert:
    folder = tmp_path_factory.mktemp("weights")
    write_released(folder / mask2former.FILES["seg_coco"], reduced_weights())
    setting = RuntimeConfig(torch.device("cpu"), folder)
    return mask2former.load(["seg_coco"], mask2former.Options(), setting)


def scores(expert: SegmentationExpert, pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Scores (classes, *size) of the network's input, before any class is left out."""
    height, width = pixels.shape[-2:]
    normal = F.pad(normalise(pixels, expert.mean, expert.std), (0, -width % 32, 0, -height % 32))
    with torch.inference_mode():
        classes, masks = expert.networks["seg_coco"](normal[None])
        found = semantic_scores(classes[0], masks[0], normal.shape[-2:], (height, width))
    return F.interpolate(found[None], size, mode="bilinear")[0]


@pytest.mark.parametrize("name", ["seg_coco", "seg_ade", "seg_reduced"])
def test_every_released_weight_has_its_place(name):
    spec = segmentation_spec(name)
    weights, dropped = {}, []
    for key, shape in spec.items():
        if names := new_names(key, RULES):
            weights |= zip(names, torch.empty(shape, device="meta").chunk(len(names)), strict=True)
        else:
            dropped.append(key)
    assert dropped == [key for key in spec if key.endswith(".attn.relative_position_index")]
    with quiet():
        network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
            None,
            config=mask2former.network_config(spec),
            state_dict=weights,
            device_map="meta",
            output_loading_info=True,
        )
    assert report["missing_keys"] == UNUSED
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    entries = network.state_dict()
    assert sum(entries[key].numel() for key in entries.keys() - UNUSED) == sum(
        math.prod(shape) for key, shape in spec.items() if key not in dropped
    )


def test_backbone(expert, golden):
    pixels = torch.from_numpy(golden["small_bgr_in"])
    network = expert.networks["seg_coco"].args[0]
    with torch.inference_mode():
        features = network.model.pixel_level_module.encoder((normalise(pixels, expert.mean, expert.std))[None])
    for level, values in enumerate(features.feature_maps, start=2):
        assert_matches(values[0, ::8, ::2, ::2], golden[f"backbone_res{level}"], 1e-5)


def test_semantic_scores_and_label(expert, golden):
    pixels = torch.from_numpy(golden["small_bgr_in"])
    found = scores(expert, pixels, (75, 100))
    assert_matches(found[:, ::4, ::4], golden["sem_seg_every4"], 1e-5)
    assert np.array_equal(found.argmax(0), golden["labels"])
    (raw,) = expert.predict([pixels])
    label = expert.decode(raw, Target((75, 100)))["seg_coco"].map
    assert np.array_equal(label, golden["labels"])


def test_from_image_to_label(expert, golden):
    with Image.open(FOLDER / "image.png") as image:
        pixels = expert.prepare(image.convert("RGB"))
        size = (image.height, image.width)
    assert pixels.shape == (3, 360, 480)
    assert_matches(scores(expert, pixels, size)[:, ::8, ::8], golden["full_sem_seg_every8"], 1e-5)
    (raw,) = expert.predict([pixels])
    assert np.array_equal(expert.decode(raw, Target(size))["seg_coco"].map, golden["full_labels"])
