"""The objects that a detector finds in an image."""

from dataclasses import dataclass

from torch import Tensor
from torchvision.ops import batched_nms

from experts.finite import check_finite


@dataclass(frozen=True)
class Detections:
    """The objects of an image, the surest first.

    Attributes:
        boxes: float32 (n, 4), x0, y0, x1, y1 in pixels of the network's input.
        scores: float32 (n,), probabilities.
        classes: int64 (n,).
        size: height and width of the network's input, without padding.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    size: tuple[int, int]


def detections(
    boxes: Tensor,
    probabilities: Tensor,
    size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float = 0.5,
    most: int = 300,
) -> Detections:
    """Applies a threshold and non-maximum suppression per class, and keeps the best `most` detections.

    Args:
        boxes: (n, 4).
        probabilities: (n, classes); a box may have several classes.
        size: height and width of the network's input, without padding.
        score_threshold: of a class's probability.
        nms_threshold: the greatest IoU of two boxes of a class.

    Raises:
        NotFinite: a box or a probability is NaN or infinite.
    """
    check_finite(boxes, probabilities)
    box, classes = (probabilities > score_threshold).nonzero().unbind(1)
    boxes, scores = boxes[box], probabilities[box, classes]
    kept = batched_nms(boxes, scores, classes, nms_threshold)[:most]
    return Detections(boxes[kept].cpu(), scores[kept].cpu(), classes[kept].cpu(), size)
