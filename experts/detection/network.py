"""UniDet (arXiv 2102.13086): one detector for the classes of COCO, Objects365, OpenImages and Mapillary."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experts.detection.backbone import ALIGNMENT, Pyramid
from experts.detection.cascade import LEVELS, Cascade
from experts.detection.detections import Detections, detections
from experts.detection.proposals import Proposals
from experts.finite import check_finite

MEAN = (123.68, 116.779, 103.939)
STD = (58.393, 57.12, 57.375)
SCORE_THRESHOLD = 0.5


class UniDet(nn.Module):
    """Images -> boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid()
        self.proposals = Proposals()
        self.cascade = Cascade()

    def forward(self, images: Tensor, sizes: list[tuple[int, int]]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (b, 3, h, w) as `normalise` makes them.
            sizes: height and width of each image without its padding.

        Raises:
            NotFinite: a feature, a box or a score is NaN or infinite.
        """
        levels = self.pyramid(images)
        check_finite(levels)
        proposed = [boxes for boxes, _ in self.proposals(levels, sizes)]
        found = self.cascade(levels[:LEVELS], proposed, sizes, SCORE_THRESHOLD)
        images = zip(found, sizes, strict=True)
        return [detections(boxes, scores, size, SCORE_THRESHOLD) for (boxes, scores), size in images]


def normalise(image: Tensor) -> Tensor:
    """Bytes (3, h, w) -> zero mean, unit deviation, padded with zeros on the right and below."""
    mean, std = (image.new_tensor(values, dtype=torch.float32)[:, None, None] for values in (MEAN, STD))
    height, width = image.shape[1:]
    padding = (0, -width % ALIGNMENT, 0, -height % ALIGNMENT)
    return F.pad((image - mean) / std, padding)
