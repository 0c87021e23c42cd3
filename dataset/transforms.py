"""The transform of an image and its labels together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.randaugment import rand_augment

FINE_TUNING_SCALE = (0.5, 1.0)  # share of the image's area that a crop keeps
PRE_TRAINING_SCALE = (0.5, 1.5)
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class JointTransform:
    """Resizes an image and its labels; for training also crops, flips and augments them alike.

    Attributes:
        image_resolution, label_resolution: sides of the results, pixels.
        crop_scale: share of the area that a random crop keeps; None: no augmentation at all.
        compat: see `dataset.randaugment.apply`.
    """

    image_resolution: int
    label_resolution: int
    crop_scale: tuple[float, float] | None = None
    compat: bool = False

    def __post_init__(self) -> None:
        if self.crop_scale is not None:
            import torchvision.transforms  # noqa: F401  # once, before the workers are forked

    def __call__(
        self, image: Image.Image, labels: Mapping[str, Image.Image], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Transforms an RGB image, and label pictures of its size or smaller ones of its shape, by modality name.

        Returns:
            The image, uint8 (3, H, H), and the labels, uint8 (c, L, L).
        """
        box, size = (0, 0, *image.size), image.size
        if self.crop_scale is not None:
            box = crop_box(image, self.crop_scale, generator)
            image = image.crop(box)
        image = image.resize((self.image_resolution,) * 2, Image.Resampling.BICUBIC)
        labels = {name: self._cut(label, box, size) for name, label in labels.items()}
        if self.crop_scale is not None:
            if torch.rand((), generator=generator) < 0.5:
                mirror = Image.Transpose.FLIP_LEFT_RIGHT
                image = image.transpose(mirror)
                labels = {name: label.transpose(mirror) for name, label in labels.items()}
            image, labels = rand_augment(image, labels, generator, self.compat)
        return picture_bytes(image), {name: picture_bytes(label) for name, label in labels.items()}

    def _cut(self, label: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
        """A box of a label, given in pixels of its image, at the labels' resolution."""
        small = (self.label_resolution,) * 2
        if label.size == size:
            return label.crop(box).resize(small, Image.Resampling.NEAREST)
        # A packed label is smaller than its image; the box need not begin with one of its pixels.
        part = [min(edge * own / full, own) for edge, own, full in zip(box, label.size * 2, size * 2, strict=True)]
        return label.resize(small, Image.Resampling.NEAREST, box=tuple(part))


def crop_box(image: Image.Image, scale: tuple[float, float], generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draws torchvision's random resized crop: left, top, right, bottom."""
    # Its import takes as long as that of torch, and only training needs it.
    from torchvision.transforms import RandomResizedCrop

    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator only
        torch.default_generator.manual_seed(seed)
        top, left, height, width = RandomResizedCrop.get_params(image, list(scale), list(_RATIO))
    return left, top, left + width, top + height


def picture_bytes(picture: Image.Image) -> Tensor:
    """A picture as uint8 (c, h, w); channel by channel takes a fifth of `pil_to_tensor`'s time."""
    return torch.stack([torch.from_numpy(np.array(channel)) for channel in picture.split()])
