"""Boxes become a map: who hides whom, how many there may be, and where depth comes from."""

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import Target
from experts.detection.detections import Detections
from experts.detection.label import InstanceLabels, draw, read_depth
from model.errors import UserError


def plain_draw(boxes: np.ndarray, size: tuple[int, int], depth: np.ndarray) -> np.ndarray:
    """The definition, with a mask of the whole image for every box."""
    masks = []
    for x0, y0, x1, y1 in boxes.astype(int):
        mask = np.zeros(size, bool)
        mask[y0:y1, x0:x1] = True
        ious = [(mask & other).sum() / max((mask | other).sum(), 1) for other in masks]
        if max(ious, default=0) <= 0.95:
            masks.append(mask)
    current = [mask.copy() for mask in masks]
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            both = masks[i] & masks[j]
            if not both.any():
                continue
            if (both == masks[i]).all():
                current[j] &= ~current[i]
            elif (both == masks[j]).all():
                current[i] &= ~current[j]
            elif depth[masks[i]].mean() > depth[masks[j]].mean():
                current[j] &= ~both
            elif depth[masks[i]].mean() < depth[masks[j]].mean():
                current[i] &= ~both
    ids = np.full(size, 255, np.uint8)
    for index, mask in enumerate(current):
        ids[mask] = index
    return ids


@pytest.mark.parametrize("seed", range(8))
def test_small_masks_give_what_whole_ones_do(seed):
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (60, 2, 2)) if seed % 2 else random.uniform(0, 40, (60, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    depth = random.integers(0, 5 if seed < 4 else 256, (40, 44)).astype(np.uint8)
    ids, instances = draw(boxes, np.arange(60), (40, 44), depth)
    np.testing.assert_array_equal(ids, plain_draw(boxes, (40, 44), depth))
    assert list(instances) == list(range(len(instances)))


def test_nothing_found_is_background():
    ids, instances = draw(np.zeros((0, 4)), np.zeros(0), (6, 8), None)
    assert ids.shape == (6, 8)
    assert (ids == 255).all()
    assert instances == {}


def test_the_255_surest_of_many_are_kept():
    x, y = np.meshgrid(np.arange(0, 60, 3), np.arange(0, 45, 3))
    boxes = np.stack([x, y, x + 2, y + 2], axis=-1).reshape(-1, 4)
    assert len(boxes) == 300
    ids, instances = draw(boxes, np.arange(300), (45, 60), None)
    assert instances == {index: index for index in range(255)}
    assert set(np.unique(ids)) == set(range(256))
    assert (ids[:36] < 255).sum() == 240 * 4  # twelve whole rows of twenty


def test_without_depth_the_surer_one_is_in_front_and_that_is_said_once(tmp_path, capsys):
    boxes = torch.tensor([[0.0, 0, 6, 6], [3, 3, 9, 9], [7, 7, 8, 8]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([5, 700, 1]), (10, 12))
    labels = InstanceLabels()
    for name in ("one", "two"):
        label = labels(found, Target((20, 24), name, tmp_path))
        assert label.instances == {0: 5, 1: 700, 2: 1}
        assert label.map.shape == (20, 24)
        assert (label.map[10, 10], label.map[16, 10], label.map[15, 15]) == (0, 1, 2)
    assert capsys.readouterr().err.count("generate_depth.py") == 1


def test_nearer_boxes_are_in_front_by_a_depth_label_of_the_images_size(tmp_path, capsys):
    path = tmp_path / "depth" / "set" / "a.b.png"
    path.parent.mkdir(parents=True)
    depth = np.zeros((40, 20), np.uint8)
    depth[20:] = 200
    Image.fromarray(depth).save(path)
    boxes = torch.tensor([[0.0, 0, 5, 12], [0, 8, 10, 20]])
    found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([1, 2]), (20, 10))
    target = Target((40, 20), "set/a.b", tmp_path)
    label = InstanceLabels()(found, target)
    assert (label.map[:16, :10] == 0).all()
    assert (label.map[16:] == 1).all()
    resized = read_depth(target, (20, 10))
    assert resized.shape == (20, 10)
    assert (resized[:9] == 0).all()
    assert (resized[11:] == 200).all()
    assert capsys.readouterr().err == ""


def test_an_empty_depth_label_is_none_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "depth" / "a.png"
    path.parent.mkdir()
    path.touch()
    target = Target((40, 20), "a", tmp_path)
    assert read_depth(target, (20, 10)) is None
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png.*generate_depth\.py"):
        read_depth(target, (20, 10))
