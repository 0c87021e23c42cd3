"""Boxes become a map: who hides whom, how many there may be, and where depth comes from."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from experts.base import Target
from experts.detection.detections import Detections, detections
from experts.detection.label import draw, instance_label, read_depth


def plain_draw(boxes, classes, size, depth, masks):
    """The definition, word by word: a mask of the whole map for every box, numbers or truths."""
    kept, whole = [], []
    for index, (x0, y0, x1, y1) in enumerate(boxes.astype(int).tolist()):
        mask = np.zeros(size, bool)
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        if all((mask & other).sum() <= 0.95 * (mask | other).sum() or not mask.any() for other in whole):
            kept.append(index)
            whole.append(mask)
    kept, whole = kept[:255], whole[:255]
    means = [depth[mask].mean() if mask.any() else 0 for mask in whole] if depth is not None else None
    nearness = means or [-index for index in kept]
    current = [mask.astype(int) for mask in whole]

    def cut(hidden, hider):
        current[hidden] = current[hidden] - hider if masks == "signed" else current[hidden] * (hider == 0)

    for i, j in itertools.combinations(range(len(kept)), 2):
        both = whole[i] & whole[j]
        if not both.any():
            continue
        if (both == whole[i]).all():
            cut(j, current[i])
        elif (both == whole[j]).all():
            cut(i, current[j])
        elif nearness[i] > nearness[j]:
            cut(j, both.astype(int))
        elif nearness[j] > nearness[i]:
            cut(i, both.astype(int))
    ids = np.full(size, 255)
    for index, mask in enumerate(current):
        ids[mask > 0] = index
    return ids, {index: classes[box] for index, box in enumerate(kept)}


def scattered(random, count, height, width):
    """Boxes anywhere, with parts outside the map, without area, and some of them twice."""
    low = random.uniform(-4, [width, height], (count, 2))
    boxes = np.concatenate([low, low + random.exponential(width / 3, (count, 2))], axis=1)
    boxes[random.random(count) < 0.05, 2] = 0
    twice = random.random(count) < 0.1
    boxes[twice] = boxes[random.integers(0, count, twice.sum())]
    return boxes


def nested(random, count, height, width):
    """Boxes around one another, in any order."""
    margin = random.permutation(np.arange(count) % (min(height, width) // 2))[:, None]
    return np.concatenate([margin, margin, width - margin, height - margin], axis=1).astype(float)


@pytest.mark.parametrize("masks", ["signed", "binary"])
@pytest.mark.parametrize(
    ("cases", "count", "height", "width", "place"),
    [
        (60, 12, 20, 24, scattered),
        (60, 40, 40, 33, scattered),
        (10, 30, 60, 60, nested),
        (1, 300, 50, 64, scattered),
        (1, 0, 6, 8, scattered),
    ],
)
def test_maps_are_those_of_whole_masks(masks, cases, count, height, width, place):
    for seed in range(cases):
        random = np.random.default_rng(seed)
        boxes, classes = place(random, count, height, width), random.integers(0, 722, count)
        depth = random.integers(0, (4, 256)[seed % 2], (height, width)).astype(np.uint8)
        depth = None if seed % 5 == 4 else depth if seed % 5 else np.full_like(depth, 9)
        ids, instances = draw(boxes, classes, (height, width), depth, masks)
        expected, named = plain_draw(boxes, classes, (height, width), depth, masks)
        np.testing.assert_array_equal(ids, expected)
        assert instances == named


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
    for name in ("one", "two"):
        label = instance_label(found, Target((20, 24), name, tmp_path), "signed")
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
    label = instance_label(found, target, "signed")
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


def test_of_a_class_the_surest_of_overlapping_boxes_is_kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5], [20, 20, 30, 30]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.6, 0.2], [0.5, 0.95]])
    found = detections(boxes, scores, (40, 50), 0.5)
    # The second is the first again as class 0 (IoU 0.6); the third just not (0.5); the last is not above 0.5.
    assert list(zip(found.classes.tolist(), found.boxes.tolist(), strict=True)) == [
        (1, [20, 20, 30, 30]),
        (0, [0, 0, 10, 10]),
        (1, [0, 0, 10, 6]),
        (0, [0, 0, 10, 5]),
    ]
    assert found.scores.tolist() == pytest.approx([0.95, 0.9, 0.7, 0.6])
    apart = torch.arange(400.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    assert len(detections(apart, torch.full((400, 1), 0.9), (9, 9), 0.5).boxes) == 300
