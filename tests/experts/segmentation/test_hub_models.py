"""Checkpoints of `transformers` as segmentation experts."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModelForUniversalSegmentation, AutoProcessor

from common.errors import UserError
from dataset.class_tables import class_names
from experts.base import RuntimeConfig
from experts.segmentation import hub_models
from experts.segmentation.expert import SegmentationExpert
from nano.scenes.scene import render_scene
from tests.experts.segmentation.tiny import save_mask2former, save_oneformer

COCO = class_names("coco")
ADE = class_names("ade")
CPU = RuntimeConfig(torch.device("cpu"), Path())


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(render_scene([3, 1], long_side=130).image)


def scores(expert: SegmentationExpert, image: Image.Image) -> dict[int, torch.Tensor]:
    """The likely classes' scores."""
    prepare = pickle.loads(pickle.dumps(expert.prepare))  # it goes to the loader's processes
    (raw,) = expert.predict([prepare(image)])
    found = dict(zip(raw["seg_coco"].classes, raw["seg_coco"].values, strict=True))
    assert len(found) > 2
    return found


@pytest.mark.parametrize("save", [save_mask2former, save_oneformer])
def test_the_network_is_given_what_its_processor_gives_it(tmp_path, image, save):
    save(tmp_path)
    expert = hub_models.load(["seg_coco"], hub_models.Options(str(tmp_path)), CPU)
    processor = AutoProcessor.from_pretrained(tmp_path)
    tasks = {"task_inputs": ["semantic"]} if save is save_oneformer else {}
    inputs = processor(images=image, return_tensors="pt", **tasks)
    size = inputs["pixel_values"].shape[-2:]
    network = AutoModelForUniversalSegmentation.from_pretrained(tmp_path)
    with torch.inference_mode():
        output = network(**inputs)
        classes = output.class_queries_logits[0].softmax(-1)[:, :-1]
        masks = F.interpolate(output.masks_queries_logits, size, mode="bilinear")[0].sigmoid()
        expected = torch.einsum("qc,qhw->chw", classes, masks)
    for index, values in scores(expert, image).items():
        torch.testing.assert_close(values, expected[index])


def test_classes_are_put_in_our_order(tmp_path, image):
    order = np.random.default_rng(0).permutation(len(COCO))
    plain = save_mask2former(tmp_path / "plain")
    shuffled = save_mask2former(tmp_path / "shuffled", [COCO[index] for index in order])
    first, second = (
        scores(hub_models.load(["seg_coco"], hub_models.Options(str(folder)), CPU), image)
        for folder in (plain, shuffled)
    )
    assert second.keys() == {order[index] for index in first}
    for index, values in first.items():
        torch.testing.assert_close(second[order[index]], values)


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ([f"{name}-merged" if name in ("tree", "wall") else name.upper() for name in COCO], COCO, range(133)),
        ([name.split(",")[0] for name in ADE[::-1]], ADE, range(149, -1, -1)),
        (["b, bee", "A ", "x", "y"], ["a", "b", "c", "d"], [1, 0, 2, 3]),  # half of them
        (ADE, COCO, "of its 150 classes are among the 133"),
        ([f"LABEL_{index}" for index in range(133)], COCO, "0 of its 133 classes"),
        (["another", *COCO[:2], *COCO[3:]], COCO, "132 of its 133 classes"),
        ([*COCO[:66], *(f"LABEL_{index}" for index in range(67))], COCO, "66 of its 133 classes"),
    ],
)
def test_classes_are_found_by_name_or_else_by_place(theirs, ours, expected):
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            hub_models.class_order(theirs, ours)
    else:
        assert hub_models.class_order(theirs, ours) == list(expected)


def test_a_checkpoint_of_other_classes_is_named(tmp_path):
    save_mask2former(tmp_path)
    with pytest.raises(UserError, match=f"checkpoint '{tmp_path}': not one for seg_ade: .*150"):
        hub_models.load(["seg_ade"], hub_models.Options(str(tmp_path)), CPU)


def test_files_are_those_of_a_folder(tmp_path):
    save_mask2former(tmp_path)
    found = hub_models.files(["seg_coco"], hub_models.Options(str(tmp_path)), Path())
    assert sorted(path.name for path in found) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert hub_models.files(["seg_coco"], hub_models.Options(), Path()) == []
