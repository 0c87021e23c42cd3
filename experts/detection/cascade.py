"""A cascade of three heads that classify and refine proposals (arXiv 1712.00726)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, roi_align

from experts.detection.proposals import CHANNELS, STRIDES, move
from experts.finite import check_finite

CLASSES = 722
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))  # of the stages
LEVELS = 3  # the heads see p3 to p5
FIRST_LEVEL, CANONICAL_LEVEL, CANONICAL_SIDE = 3, 4, 224  # a box of 224 pixels is cut out of p4
POOLED = 7
HIDDEN = 1024


class Head(nn.Module):
    """A stage, which classifies crops and moves their boxes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [
                nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
                nn.BatchNorm2d(CHANNELS),
                nn.ReLU(inplace=True),
            ]
        self.convs = nn.Sequential(*layers)
        self.hidden = nn.Linear(CHANNELS * POOLED**2, HIDDEN)
        self.classes = nn.Linear(HIDDEN, CLASSES + 1)  # the last is background
        self.deltas = nn.Linear(HIDDEN, 4)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 256, 7, 7) -> float32 probabilities (n, 723) and deltas (n, 4)."""
        hidden = F.relu(self.hidden(self.convs(crops).flatten(1)))
        return self.classes(hidden).float().sigmoid(), self.deltas(hidden).float()


class Cascade(nn.Module):
    """The boxes of a stage are the proposals of the next; the scores are means over the stages."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head() for _ in BOX_WEIGHTS)

    def forward(
        self,
        levels: list[Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        score_threshold: float,
    ) -> list[tuple[Tensor, Tensor]]:
        """Classifies and refines proposals.

        Args:
            levels: p3, p4 and p5, (b, 256, h, w).
            proposals: (n, 4) for each image.
            sizes: height and width of each image without padding.
            score_threshold: boxes that cannot exceed it in any class are dropped.

        Returns:
            For each image boxes (m, 4) and their classes' probabilities (m, 722), m <= n.
        """
        boxes = proposals
        scores = [rows.new_zeros(len(rows), CLASSES) for rows in boxes]
        for stage, (head, weights) in enumerate(zip(self.heads, BOX_WEIGHTS, strict=True)):
            # A stage adds at most a third, so most boxes can be dropped before the last stage.
            within_reach = (len(self.heads) - stage) / len(self.heads)
            hopeful = [(rows + within_reach > score_threshold).any(1) for rows in scores]
            boxes = [rows[chosen] for rows, chosen in zip(boxes, hopeful, strict=True)]
            scores = [rows[chosen] for rows, chosen in zip(scores, hopeful, strict=True)]
            counts = [len(rows) for rows in boxes]
            seen, deltas = head(crop(levels, boxes))
            check_finite(seen, deltas)
            share = seen[:, :CLASSES] / len(self.heads)
            scores = [rows + more for rows, more in zip(scores, share.split(counts), strict=True)]
            moved = move(torch.cat(boxes), deltas, weights).split(counts)
            boxes = [clip_boxes_to_image(rows, size) for rows, size in zip(moved, sizes, strict=True)]
        return list(zip(boxes, scores, strict=True))


def crop(levels: list[Tensor], boxes: list[Tensor]) -> Tensor:
    """Cuts boxes, (n, 4) for each image, out of the level for their size, p3, p4 or p5 -> (sum of n, 256, 7, 7)."""
    image = torch.cat([torch.full_like(rows[:, :1], index) for index, rows in enumerate(boxes)])
    rows = torch.cat([image, torch.cat(boxes)], dim=1)  # (n, 5)
    side = ((rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2])).sqrt()
    level = (CANONICAL_LEVEL - FIRST_LEVEL + (side / CANONICAL_SIDE + 1e-8).log2()).floor()
    level = level.clamp(0, LEVELS - 1)
    crops = levels[0].new_zeros(len(rows), CHANNELS, POOLED, POOLED)
    for index, (features, stride) in enumerate(zip(levels, STRIDES[:LEVELS], strict=True)):
        chosen = (level == index).nonzero()[:, 0]
        # In float32: half precision cannot hold coordinates.
        cut = roi_align(features.float(), rows[chosen], POOLED, 1 / stride, aligned=True)
        crops[chosen] = cut.to(crops.dtype)
    return crops
