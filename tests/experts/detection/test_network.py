"""Proposals, crops and stages against plain definitions, with heads that say what the features hold."""

import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from experts.detection import proposals
from experts.detection.cascade import BOX_WEIGHTS, CLASSES, Cascade, crop
from experts.detection.detections import detections
from experts.detection.network import normalise_and_pad
from experts.detection.proposals import Proposals

STRIDES = (8, 16, 32, 64, 128)


def greedy(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Non-maximum suppression, word by word."""
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if not kept or box_iou(boxes[[index]], boxes[kept]).max() <= threshold:
            kept.append(index)
    return kept


class Part(nn.Module):
    """Some channels of the features."""

    def __init__(self, start: int, end: int, scale: float, shift: float) -> None:
        super().__init__()
        self.start, self.end, self.scale, self.shift = start, end, scale, shift

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.start : self.end] * self.scale + self.shift


def plain_proposals(features: list[Tensor], height: int, width: int, of_level: int, most: int):
    """The anchors of an image, one by one."""
    found, logits = [], []
    for level, stride in zip(features, STRIDES, strict=True):
        boxes, scores = [], []
        for row in range(level.shape[1]):
            for column in range(level.shape[2]):
                cell = level[:, row, column].relu().tolist()
                sides = [4 * stride * 2 ** (octave / 3) for octave in range(3)]
                shapes = [(side, ratio) for side in sides for ratio in (0.5, 1, 2)]
                for index, (side, ratio) in enumerate(shapes):
                    dx, dy, dw, dh = (x - 0.4 for x in cell[9 + 4 * index : 13 + 4 * index])
                    w, h = side / math.sqrt(ratio), side * math.sqrt(ratio)
                    x, y = column * stride + dx * w, row * stride + dy * h
                    w, h = w * math.exp(dw), h * math.exp(dh)
                    boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
                    scores.append(3 * cell[index])
        boxes, scores = torch.tensor(boxes), torch.tensor(scores)
        best = scores.argsort(descending=True)[:of_level]
        boxes = boxes[best].clamp(min=0).minimum(torch.tensor([width, height] * 2))
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores = boxes[inside], scores[best][inside]
        kept = greedy(boxes, scores, 0.7)
        found.append(boxes[kept])
        logits.append(scores[kept])
    boxes, scores = torch.cat(found), torch.cat(logits)
    best = scores.argsort(descending=True)[:most]
    return boxes[best], scores[best]


@torch.inference_mode()
def test_proposals_are_those_of_all_anchors(monkeypatch):
    assert (proposals.BEST_OF_LEVEL, proposals.BEST) == (1000, 1000)
    monkeypatch.setattr(proposals, "BEST_OF_LEVEL", 60)
    monkeypatch.setattr(proposals, "BEST", 70)
    network = Proposals()
    network.conv, network.objectness, network.deltas = nn.Identity(), Part(0, 9, 3, 0), Part(9, 45, 1, -0.4)
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 8), (3, 4), (2, 2), (1, 1), (1, 1))
    levels = [torch.rand(2, 45, *shape, generator=generator) for shape in shapes]
    sizes = [(48, 64), (40, 50)]
    for index, (boxes, logits) in enumerate(network(levels, sizes)):
        expected = plain_proposals([level[index] for level in levels], *sizes[index], 60, 70)
        assert 40 < len(boxes) <= 70
        torch.testing.assert_close(logits, expected[1])
        torch.testing.assert_close(boxes, expected[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "level"), [(4, 0), (150, 0), (223.9, 0), (224.1, 1), (447.9, 1), (448.1, 2), (900, 2)]
)
def test_a_box_is_looked_up_in_the_level_of_its_size(side, level):
    levels = [torch.full((2, 256, 40, 40), 10.0 * index) for index in range(3)]
    box = torch.tensor([[0.0, 0, side * 1.25, side / 1.25]])
    assert crop(levels, [box[:0], box])[0, 0, 0, 0] == 10 * level


def test_crops_are_bilinear_in_pixels_of_the_image():
    """A ramp over the image is seen as it is; a cell of a level lies around the middle of its pixels."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")
    ramp = torch.stack([8 * x + 4, 8 * y + 4]).repeat(128, 1, 1)  # p3: 256 channels
    levels = [torch.stack([ramp, ramp + 1000]), torch.zeros(2, 256, 4, 5), torch.zeros(2, 256, 2, 3)]
    boxes = [torch.tensor([[10.0, 20, 38, 34]]), torch.tensor([[8.0, 8, 22, 50], [10.0, 20, 38, 34]])]
    crops = crop(levels, boxes)
    assert crops.shape == (3, 256, 7, 7)
    torch.testing.assert_close(crops[0, 0], (12 + 4 * torch.arange(7.0)).expand(7, 7))
    torch.testing.assert_close(crops[0, 1], (21 + 2 * torch.arange(7.0))[:, None].expand(7, 7))
    torch.testing.assert_close(crops[1, 1], (1011 + 6 * torch.arange(7.0))[:, None].expand(7, 7))
    torch.testing.assert_close(crops[2], crops[0] + 1000)


class Stage(nn.Module):
    """Says the same of every box."""

    def __init__(self, scores: list[float], deltas: list[float]) -> None:
        super().__init__()
        self.scores, self.deltas, self.counts = scores, deltas, []

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        self.counts.append(len(crops))
        seen = torch.zeros(len(crops), CLASSES + 1)
        seen[:, [0, CLASSES - 1, CLASSES]] = torch.tensor(self.scores, dtype=torch.float32)
        return seen, torch.tensor(self.deltas, dtype=torch.float32).repeat(len(crops), 1)


def cascade(*stages: Stage) -> Cascade:
    with torch.device("meta"):
        network = Cascade()
    network.heads = nn.ModuleList(stages)
    return network


@torch.inference_mode()
def test_stages_move_boxes_in_turn_and_their_scores_are_averaged():
    assert BOX_WEIGHTS == ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))
    network = cascade(
        Stage([0.3, 0.9, 1], [5, 0, 0, 0]),
        Stage([0.6, 0, 1], [0, 10, 0, 0]),
        Stage([0.3, 0.3, 1], [0, 0, 15, 0]),
    )
    levels = [torch.zeros(2, 256, 8, 8), torch.zeros(2, 256, 4, 4), torch.zeros(2, 256, 2, 2)]
    boxes = [torch.tensor([[10.0, 10, 20, 30], [50.0, 50, 60, 60]]), torch.tensor([[0.0, 0, 10, 10]])]
    (first, scores), (second, _) = network(levels, boxes, [(64, 64), (14, 64)], 0.2)
    # Half the width to the right, half the height down, then e times as wide about the middle; at last cut.
    torch.testing.assert_close(first[0], torch.tensor([20 - 5 * math.e, 20, 20 + 5 * math.e, 40]))
    # The second is cut at 64 after each stage: 55..64 x 50..60, 55..64 x 55..64 and so on.
    torch.testing.assert_close(first[1, [1, 3]], torch.tensor([55.0, 64]))
    torch.testing.assert_close(second[0, [1, 3]], torch.tensor([5.0, 14]))
    assert scores.shape == (2, CLASSES)
    torch.testing.assert_close(scores[0, [0, CLASSES - 1]], torch.tensor([0.4, 0.4]))
    assert scores[:, 1:-1].sum() == 0


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [(0.35, 1.0, [1, 0, 0]), (0.45, 0.9, [1, 1, 0]), (0.45, 1.0, [1, 1, 1])],
)
@torch.inference_mode()
def test_a_box_that_cannot_be_sure_any_more_is_left_out(first, second, counts):
    """Each stage adds a third at most; the threshold is 0.8."""
    stages = [Stage([score, 0, 1], [0] * 4) for score in (first, second, 0.5)]
    levels = [torch.zeros(1, 256, side, side) for side in (8, 4, 2)]
    ((boxes, _),) = cascade(*stages)(levels, [torch.tensor([[10.0, 10, 20, 30]])], [(64, 64)], 0.8)
    assert [stage.counts for stage in stages] == [[count] for count in counts]
    assert len(boxes) == counts[-1]


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
    assert found.size == (40, 50)
    apart = torch.arange(400.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    assert len(detections(apart, torch.full((400, 1), 0.9), (9, 9), 0.5).boxes) == 300


def test_images_are_normalised_and_padded_on_the_right_and_below():
    image = torch.tensor([124, 0, 255], dtype=torch.uint8)[:, None, None].expand(3, 33, 64)
    normal = normalise_and_pad(image)
    assert normal.shape == (3, 64, 64)
    expected = torch.tensor([0.32 / 58.393, -116.779 / 57.12, (255 - 103.939) / 57.375])
    torch.testing.assert_close(normal[:, 32, 63], expected)
    assert not normal[:, 33:].any()
