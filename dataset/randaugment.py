"""RandAugment on an image and its labels together, at magnitude 5 of 10.

Geometric operations act on the image and on every label, photometric ones on the image alone.
"""

from collections.abc import Mapping
from enum import StrEnum

import torch
from PIL import Image, ImageOps

from model.modalities import MODALITIES

SHEAR = 0.15  # 5/10 of [0, 0.3]
TRANSLATE = 0.165  # 5/10 of [0, 0.33], of the side
ROTATE = 15.0  # 5/10 of [0, 30], degrees
OPERATIONS_PER_IMAGE = 2


class Operation(StrEnum):
    """The operations, each as likely as any other."""

    IDENTITY = "Identity"
    SHEAR_X = "ShearX"
    SHEAR_Y = "ShearY"
    TRANSLATE_X = "TranslateX"
    TRANSLATE_Y = "TranslateY"
    ROTATE = "Rotate"
    AUTO_CONTRAST = "AutoContrast"
    EQUALIZE = "Equalize"
    BRIGHTNESS = "Brightness"
    SHARPNESS = "Sharpness"


_PHOTOMETRIC = {Operation.AUTO_CONTRAST: ImageOps.autocontrast, Operation.EQUALIZE: ImageOps.equalize}
# At magnitude 5 of [0.1, 1.9] the enhancement factor is 1.0, which gives the image itself.
_UNCHANGED = {Operation.IDENTITY, Operation.BRIGHTNESS, Operation.SHARPNESS}


def rand_augment(
    image: Image.Image, labels: Mapping[str, Image.Image], generator: torch.Generator, compat: bool = False
) -> tuple[Image.Image, dict[str, Image.Image]]:
    """Applies two random operations, drawn with replacement from `generator`; see `apply`."""
    operations = list(Operation)
    drawn = torch.randint(len(operations), (OPERATIONS_PER_IMAGE,), generator=generator).tolist()
    signs = (torch.randint(2, (OPERATIONS_PER_IMAGE,), generator=generator) * 2 - 1).tolist()
    for number, sign in zip(drawn, signs, strict=True):
        image, labels = apply(operations[number], sign, image, labels, compat)
    return image, labels


def apply(
    operation: Operation, sign: int, image: Image.Image, labels: Mapping[str, Image.Image], compat: bool = False
) -> tuple[Image.Image, dict[str, Image.Image]]:
    """Applies one operation.

    Args:
        operation: one of them.
        sign: 1 or -1, the direction of a geometric operation.
        image: RGB image.
        labels: label pictures by modality name, each of any size.
        compat: shift labels by as many pixels as the image, as the original does. Labels have another
            resolution than the image, so they no longer lie over it; by default they do.

    Returns:
        The new image and labels.
    """
    if operation in _UNCHANGED:
        return image, dict(labels)
    if operation in _PHOTOMETRIC:
        return _PHOTOMETRIC[operation](image), dict(labels)
    moved = {}
    for name, label in labels.items():
        side = image.size if compat else label.size
        moved[name] = _move(operation, sign, label, side, Image.Resampling.NEAREST, MODALITIES[name].fill)
    return _move(operation, sign, image, image.size, Image.Resampling.BILINEAR, 0), moved


def _move(
    operation: Operation, sign: int, picture: Image.Image, side: tuple[int, int], resample: Image.Resampling, fill: int
) -> Image.Image:
    """Shears, rotates, or shifts by a share of `side` (width, height)."""
    color = (fill,) * len(picture.getbands())
    if operation is Operation.ROTATE:
        return picture.rotate(sign * ROTATE, fillcolor=color)
    matrix = {
        Operation.SHEAR_X: (1, sign * SHEAR, 0, 0, 1, 0),
        Operation.SHEAR_Y: (1, 0, 0, sign * SHEAR, 1, 0),
        Operation.TRANSLATE_X: (1, 0, sign * TRANSLATE * side[0], 0, 1, 0),
        Operation.TRANSLATE_Y: (1, 0, 0, 0, 1, sign * TRANSLATE * side[1]),
    }[operation]
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=color)
