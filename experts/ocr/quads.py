"""Quadrilaterals: their overlap, their suppression and their owners."""

import numpy as np
import shapely

NEIGHBOUR_IOU = 0.5  # boxes that overlap more show the same thing


def rotated_boxes(centres: np.ndarray, tblr: np.ndarray, angles: np.ndarray | float = 0.0) -> np.ndarray:
    """Boxes turned about points: corners (n, 4, 2), before the turn top left, top right, bottom right, bottom left.

    Args:
        centres: the points, x and y, (n, 2).
        tblr: distances from the point to the top, bottom, left and right edge, (n, 4).
        angles: in radians, from the x axis towards the y axis, (n,).
    """
    top, bottom, left, right = tblr.T
    x = np.stack([-left, right, right, -left], axis=1)  # (n, 4)
    y = np.stack([-top, -top, bottom, bottom], axis=1)
    cos, sin = (np.broadcast_to(f(angles), len(centres))[:, None] for f in (np.cos, np.sin))
    return centres[:, None] + np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


class Quads:
    """Quadrilaterals (n, 4, 2) and their overlaps. Those that are not convex count as their hulls."""

    def __init__(self, corners: np.ndarray) -> None:
        self.polygons = shapely.convex_hull(shapely.polygons(corners))
        self.areas = shapely.area(self.polygons)
        self.left, self.top, self.right, self.bottom = np.ascontiguousarray(shapely.bounds(self.polygons).T)

    def overlapping(self, other: "Quads", index: int) -> np.ndarray:
        """Whether the upright boxes around these and around `other[index]` overlap, (n,)."""
        columns = (self.left < other.right[index]) & (self.right > other.left[index])
        return columns & (self.top < other.bottom[index]) & (self.bottom > other.top[index])

    def iou(self, chosen: np.ndarray, other: "Quads", index: int) -> np.ndarray:
        """Intersection over union of the chosen ones with `other[index]`, (chosen,)."""
        shared = shapely.area(shapely.intersection(self.polygons[chosen], other.polygons[index]))
        union = self.areas[chosen] + other.areas[index] - shared
        return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def merge(
    corners: np.ndarray, scores: np.ndarray, threshold: float, extra: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-maximum suppression that averages boxes of the same thing.

    The best box suppresses those with an IoU above the threshold. Those above `NEIGHBOUR_IOU` are averaged with
    it, weighted by score. Without such a neighbour, the box is noise and is dropped too. Then comes the next best
    box that is left.

    Args:
        corners: (n, 4, 2).
        scores: (n,).
        threshold: at most `NEIGHBOUR_IOU`.
        extra: values to average beside the corners, (n, d).

    Returns:
        Corners (k, 4, 2), scores (k,) and extra (k, d) of the boxes that are left, the best first.
    """
    order = np.argsort(-scores, kind="stable")
    corners, scores, extra = corners[order], scores[order], extra[order]
    quads = Quads(corners)
    alive = np.ones(len(corners), bool)
    merged = []
    for best in range(len(corners)):
        if not alive[best]:
            continue
        alive[best] = False
        near = np.flatnonzero(alive & quads.overlapping(quads, best))
        iou = quads.iou(near, quads, best)
        alive[near[iou > threshold]] = False
        same = near[iou > NEIGHBOUR_IOU]
        if len(same):
            same = np.append(same, best)
            weights = scores[same] / scores[same].sum()
            merged.append((best, weights @ corners[same].reshape(-1, 8), weights @ extra[same]))
    if not merged:
        return corners[:0], scores[:0], extra[:0]
    kept, corners, extra = (np.stack(values) for values in zip(*merged, strict=True))
    return corners.reshape(-1, 4, 2), scores[kept], extra


def assign(items: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The owner (m, 4, 2) with the greatest IoU for each item (n, 4, 2): its index, (n,); -1 if none overlaps."""
    best, found = np.zeros(len(items)), np.full(len(items), -1)
    if not len(items):
        return found
    items_, owners_ = Quads(items), Quads(owners)
    for owner in range(len(owners)):
        near = np.flatnonzero(items_.overlapping(owners_, owner))
        iou = items_.iou(near, owners_, owner)
        better = iou > best[near]
        best[near[better]] = iou[better]
        found[near[better]] = owner
    return found
