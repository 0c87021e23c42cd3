"""From boxes to a label: which object hides which, and the map of their visible parts."""

import sys
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset.labels import LabelReader
from experts.base import Label, Target
from experts.detection.detections import Detections
from experts.finite import check_finite
from model.modalities import BACKGROUND, modality

SAME_IOU = 0.95  # boxes that overlap more are one object

# How a box is cut out of another. `signed` subtracts masks of numbers: where two boxes hide a third, its mask
# is -1, and cutting that mask out of a fourth box can show the fourth box again. The labels of the released
# models were made so. With `binary`, a hidden pixel stays hidden.
Masks = Literal["signed", "binary"]


_lock = Lock()  # labels are made in several threads


def instance_label(found: Detections, target: Target, masks: Masks) -> Label:
    """The label of an image at its size. Warns once if there is no depth label to tell which object is in front."""
    depth = read_depth(target, found.size)
    if depth is None:
        with _lock:
            _warn(target.save_path)
    ids, instances = draw(found.boxes.numpy(), found.classes.numpy(), found.size, depth, masks)
    height, width = target.size
    resized = Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST)
    return Label(np.asarray(resized), instances=instances)


@lru_cache(maxsize=1)
def _warn(folder: Path) -> None:
    tqdm.write(
        f"no depth label below {folder} for some images: of two objects that overlap the surer one is taken to "
        "be in front; run experts/generate_depth.py first to have the nearer one",
        file=sys.stderr,
    )


def read_depth(target: Target, size: tuple[int, int]) -> np.ndarray | None:
    """The depth label of an image resized to `size`, (h, w) bytes, near is bright; None if there is none.

    Raises:
        UserError: it is damaged, or of another size than the image.
    """
    reader = _depth_reader(target.save_path, target.folder, target.shard is not None)
    path = reader.path(modality("depth"), target.key, target.shard)
    if not path.is_file() or not path.read_bytes():
        return None
    pictures, _ = reader.read(target.key, target.size[::-1], target.shard)
    return np.asarray(pictures["depth"].resize(size[::-1], Image.Resampling.BILINEAR))


@lru_cache(maxsize=8)
def _depth_reader(save_path: Path, folder: str, packed: bool) -> LabelReader:
    reader = LabelReader(save_path, ["depth"])
    if packed and (save_path / "depth" / folder).is_dir():
        reader.open_folder(folder)
    return reader


def draw(
    boxes: np.ndarray,
    classes: np.ndarray,
    size: tuple[int, int],
    depth: np.ndarray | None,
    masks: Masks = "signed",
) -> tuple[np.ndarray, dict[int, int]]:
    """Draws the visible parts of boxes into a map.

    A box inside another is in front of it. Of two that cross each other the nearer one is in front; if both are
    equally near, neither hides the other, and the later one is drawn last.

    Args:
        boxes: (n, 4), the surest first. The first 255 are drawn, as far as they are inside the map.
        classes: (n,).
        size: height and width of the map.
        depth: (h, w), greater is nearer; None means that the surer box is nearer.
        masks: how a box is cut out of another.

    Returns:
        uint8 (h, w), the id at each pixel or 255; and the class of each id.

    Raises:
        NotFinite: a box is NaN or infinite.
    """
    check_finite(boxes)
    height, width = size
    corners = boxes.clip(0, [width, height] * 2).astype(np.int64)  # cut off, not rounded
    distinct = _distinct(corners)[:BACKGROUND]
    corners = corners[distinct]
    left = _cut(corners, _nearness(corners, depth), masks)
    ids = np.full(size, BACKGROUND, np.uint8)
    for index, ((x0, y0, x1, y1), mask) in enumerate(zip(corners.tolist(), left, strict=True)):
        ids[y0:y1, x0:x1][mask > 0] = index
    return ids, {index: int(classes[box]) for index, box in enumerate(distinct)}


def _distinct(corners: np.ndarray) -> list[int]:
    """The boxes that show another object than all distinct ones before."""
    overlap = _overlaps(corners)
    area = overlap.diagonal()
    same = overlap > SAME_IOU * (area[:, None] + area - overlap)  # (n, n)
    kept: list[int] = []
    for index in range(len(corners)):
        if not same[index, kept].any():
            kept.append(index)
    return kept


def _overlaps(corners: np.ndarray) -> np.ndarray:
    """The number of pixels that two boxes share, (n, n); the diagonal holds the areas."""
    low = np.maximum(corners[:, None, :2], corners[:, :2])
    high = np.minimum(corners[:, None, 2:], corners[:, 2:])
    return (high - low).clip(0).prod(-1)


def _nearness(corners: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
    """A number for each box, greater for nearer ones, (n,)."""
    if depth is None:
        return -np.arange(len(corners))
    crops = (depth[y0:y1, x0:x1] for x0, y0, x1, y1 in corners.tolist())
    return np.array([crop.mean(dtype=np.float64) if crop.size else 0 for crop in crops])


def _cut(corners: np.ndarray, nearness: np.ndarray, masks: Masks) -> list[np.ndarray]:
    """The visible part of each box, a mask of the box's size: pixels above 0 are visible."""
    places = corners.tolist()
    dtype = np.int64 if masks == "signed" else bool  # int64, since nested boxes double their numbers
    left = [np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), dtype) for x0, y0, x1, y1 in places]
    overlap = _overlaps(corners)

    def cut(hidden: int, front: int, hider: np.ndarray | bool) -> None:
        """Cuts the hider, a mask of the box in front, out of the rest of the hidden box."""
        x, y = places[hidden][:2]
        x0, y0, x1, y1 = places[front]
        part = left[hidden][max(y0 - y, 0) : y1 - y, max(x0 - x, 0) : x1 - x]
        if masks == "signed":
            part -= hider
        else:
            part[...] &= np.logical_not(hider)

    for first, second in np.argwhere(np.triu(overlap, 1)).tolist():
        both = overlap[first, second]
        if both == overlap[first, first]:
            cut(second, first, left[first])
        elif both == overlap[second, second]:
            cut(first, second, left[second])
        elif nearness[first] > nearness[second]:
            cut(second, first, True)
        elif nearness[second] > nearness[first]:
            cut(first, second, True)
    return left
