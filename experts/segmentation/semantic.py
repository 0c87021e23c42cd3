"""From the classes and masks of queries to the class of each pixel, in little memory.

A class's score at a pixel is the sum, over all queries, of the class's probability times the mask's.
The label is the class of greatest score after the scores were resized to the image. They are resized
where labels are written, not where the network runs, which does not know the image's size; so that
they need not all travel there, those that cannot win are left behind.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experts.finite import check_finite

_QUERIES = 50  # whose masks are at full size at once: 46 MB at 480 x 480
_CLASSES = 16


@dataclass(frozen=True)
class Scores:
    """The scores of an image's likely classes.

    Attributes:
        classes: their indices, ascending, (k,).
        values: float32 (k, h, w), at the size at which the network saw the image.
    """

    classes: list[int]
    values: Tensor


def semantic_scores(
    class_logits: Tensor, mask_logits: Tensor, padded: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Scores of all classes.

    Args:
        class_logits: (q, classes + 1), the last is "no object".
        mask_logits: (q, h / 4, w / 4).
        padded: height and width of the network's input.
        size: height and width of the image in it, at the top left.

    Returns:
        float32 (classes, *size).

    Raises:
        NotFinite: a logit is NaN or infinite.
    """
    check_finite(class_logits, mask_logits)
    probabilities = class_logits.softmax(-1)[:, :-1]  # (q, c)
    scores = probabilities.new_zeros(probabilities.shape[1], size[0] * size[1])
    for classes, logits in zip(probabilities.split(_QUERIES), mask_logits.split(_QUERIES), strict=True):
        masks = F.interpolate(logits[None], padded, mode="bilinear")[0]
        masks = masks[:, : size[0], : size[1]].flatten(1).sigmoid()
        scores.addmm_(classes.T, masks)  # (c, q) x (q, h * w)
    return scores.unflatten(1, size)


def likely(scores: Tensor) -> Scores:
    """Leaves out the classes that are nowhere greatest, at whatever size the scores are resized to.

    Resized bilinearly, a pixel's scores lie between those of 2 x 2 neighbours, with the same weights for
    all classes. So a class loses there if another has more at its least than the class at its most.

    Args:
        scores: (c, h, w).

    Raises:
        NotFinite: a score is NaN or infinite.
    """
    check_finite(scores)
    cell = (min(2, scores.shape[1]), min(2, scores.shape[2]))
    least = torch.stack([-F.max_pool2d(-chunk, cell, stride=1).amin(0) for chunk in scores.split(_CLASSES)]).amax(0)
    least *= 1 - 1e-5  # far more than resizing rounds
    wins = torch.cat(
        [(F.max_pool2d(chunk, cell, stride=1) >= least).flatten(1).any(1) for chunk in scores.split(_CLASSES)]
    )
    return Scores(wins.nonzero().flatten().tolist(), scores[wins].cpu())


def label_map(scores: Scores, size: tuple[int, int]) -> np.ndarray:
    """The class of each pixel, uint8 (*size); the first one on ties.

    Raises:
        NotFinite: a score is NaN or infinite.
    """
    check_finite(scores)
    best = torch.full(size, -torch.inf)
    winner = torch.zeros(size, dtype=torch.uint8)
    for index, values in zip(scores.classes, scores.values, strict=True):  # one at a time: photos are large
        resized = F.interpolate(values[None, None], size, mode="bilinear")[0, 0]
        winner.masked_fill_(resized > best, index)
        torch.maximum(best, resized, out=best)
    return winner.numpy()
