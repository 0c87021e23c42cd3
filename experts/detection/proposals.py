"""The region proposal network (arXiv 1506.01497) over all pyramid levels. Boxes are (x0, y0, x1, y1) in pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from experts.finite import check_finite

CHANNELS = 256
STRIDES = (8, 16, 32, 64, 128)  # of the levels p3 to p7
RATIOS = (0.5, 1.0, 2.0)
OCTAVES = 3
ANCHOR_SCALE = 4  # side of a level's smallest square anchor over its stride
BEST_OF_LEVEL = 1000  # boxes per level before suppression
BEST = 1000  # proposals per image
NMS_IOU = 0.7
_MAX_LOG_SCALE = math.log(1000 / 16)  # the greatest growth of a box


class Proposals(nn.Module):
    """Rates and moves the anchors of every cell."""

    def __init__(self) -> None:
        super().__init__()
        anchors = len(RATIOS) * OCTAVES
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.objectness = nn.Conv2d(CHANNELS, anchors, 1)
        self.deltas = nn.Conv2d(CHANNELS, 4 * anchors, 1)

    def forward(self, levels: list[Tensor], sizes: list[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        """Proposes boxes.

        Args:
            levels: p3 to p7, (b, 256, h, w).
            sizes: height and width of each image without padding.

        Returns:
            For each image boxes (n, 4) and their logits (n,), the best first; n <= 1000.
        """
        boxes, scores = [], []  # per level: (b, k, 4), (b, k)
        for features, stride in zip(levels, STRIDES, strict=True):
            level_boxes, level_scores = self._level(features, stride)
            boxes.append(level_boxes)
            scores.append(level_scores)
        level = torch.cat([torch.full_like(x[0], index) for index, x in enumerate(scores)])  # (n,)
        images = zip(torch.cat(boxes, 1), torch.cat(scores, 1), sizes, strict=True)
        return [_best(*image, level) for image in images]

    def _level(self, features: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """The best boxes of a level, (b, k, 4), and their logits, (b, k)."""
        hidden = F.relu(self.conv(features))
        logits = self.objectness(hidden).float().permute(0, 2, 3, 1).flatten(1)  # (b, h * w * anchors)
        deltas = self.deltas(hidden).float().permute(0, 2, 3, 1).unflatten(3, (-1, 4)).flatten(1, 3)
        check_finite(logits, deltas)
        cell = cell_anchors(stride * ANCHOR_SCALE, RATIOS, OCTAVES).to(deltas)
        anchors = grid_anchors(cell, *features.shape[2:], stride)  # (h * w * anchors, 4)
        logits, best = logits.topk(min(BEST_OF_LEVEL, logits.shape[1]), dim=1)
        deltas = deltas.gather(1, best[:, :, None].expand(-1, -1, 4))
        moved = move(anchors[best.flatten()], deltas.flatten(0, 1), (1, 1, 1, 1))
        return moved.unflatten(0, best.shape), logits


def _best(boxes: Tensor, scores: Tensor, size: tuple[int, int], level: Tensor) -> tuple[Tensor, Tensor]:
    boxes = clip_boxes_to_image(boxes, size)
    not_empty = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores = boxes[not_empty], scores[not_empty]
    kept = batched_nms(boxes, scores, level[not_empty], NMS_IOU)[:BEST]
    return boxes[kept], scores[kept]


def cell_anchors(size: float, ratios: tuple[float, ...], octaves: int) -> Tensor:
    """The anchors around the origin, (octaves * ratios, 4), by size and then by ratio.

    Args:
        size: side of the smallest square anchor; there are `octaves` sizes below its double.
        ratios: height over width.
        octaves: sizes per doubling.
    """
    shapes = []
    for octave in range(octaves):
        side = size * 2 ** (octave / octaves)
        for ratio in ratios:
            width = side / math.sqrt(ratio)
            shapes.append((width, width * ratio))
    half = torch.tensor(shapes) / 2  # (anchors, 2)
    return torch.cat([-half, half], dim=1)


def grid_anchors(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """The anchors of a cell at the top left corner of each cell of a grid, (height * width * anchors, 4)."""
    y = torch.arange(height, device=cell.device, dtype=cell.dtype) * stride
    x = torch.arange(width, device=cell.device, dtype=cell.dtype) * stride
    corners = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)  # (h, w, 2)
    shift = corners.repeat(1, 1, 2)[:, :, None]  # (h, w, 1, 4)
    return (shift + cell).flatten(0, 2)


def move(boxes: Tensor, deltas: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Moves and scales boxes.

    Args:
        boxes: (n, 4).
        deltas: (n, 4), shift of the centre in widths and heights, logarithm of the scales.
        weights: divisors of the deltas.
    """
    x0, y0, x1, y1 = boxes.unbind(1)
    width, height = x1 - x0, y1 - y0
    dx, dy, dw, dh = (deltas / deltas.new_tensor(weights)).unbind(1)
    x, y = x0 + 0.5 * width + dx * width, y0 + 0.5 * height + dy * height
    half_width = 0.5 * width * dw.clamp(max=_MAX_LOG_SCALE).exp()
    half_height = 0.5 * height * dh.clamp(max=_MAX_LOG_SCALE).exp()
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=1)
