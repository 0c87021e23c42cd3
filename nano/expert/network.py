"""The network of the nano experts: an encoder-decoder for the image, and a reader for the word in it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import ConfigDict
from torch import Tensor, nn
from torchvision.ops import roi_align

READER_SIZE = (24, 72)  # height and width of a word that is read


@dataclass(frozen=True)
class NanoConfig:
    """The settings of the network.

    Attributes:
        words: the reader's vocabulary.
        semantic_classes: classes of the segmentation.
        instance_classes: classes of the detection.
        side: images are resized to side x side.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.
        head_width: channels of the decoder at 1/2.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    words: tuple[str, ...]
    semantic_classes: int = 7
    instance_classes: int = 33
    side: int = 160
    widths: tuple[int, int, int, int] = (32, 64, 96, 128)
    head_width: int = 40


class ConvNormAct(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv2(self.conv1(x))))


class Merge(nn.Module):
    """Adds a coarse map, upsampled by two, to a fine one."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.from_coarse = nn.Conv2d(coarse, outputs, 1)
        self.from_fine = nn.Conv2d(fine, outputs, 1)
        self.conv = ConvNormAct(outputs, outputs)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        enlarged = F.interpolate(self.from_coarse(coarse), scale_factor=2, mode="bilinear")
        return self.conv(F.relu(enlarged + self.from_fine(fine)))


class Reader(nn.Sequential):
    """Crops (n, 3, 24, 72) -> logits over the words (n, words)."""

    def __init__(self, words: int) -> None:
        super().__init__(
            ConvNormAct(3, 16),
            ConvNormAct(16, 32, stride=2),
            ConvNormAct(32, 48, stride=2),
            ConvNormAct(48, 48),
            nn.AdaptiveAvgPool2d((2, 9)),  # keeps the order of the letters
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(48 * 2 * 9, words),
        )


class NanoNetwork(nn.Module):
    """All heads; maps have half the side s of the input, edges the full side."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth, sixteenth = config.widths
        width = config.head_width
        self.stem = nn.Sequential(ConvNormAct(3, 24, stride=2), ConvNormAct(24, half))
        self.down4 = nn.Sequential(ConvNormAct(half, quarter, stride=2), Residual(quarter))
        self.down8 = nn.Sequential(ConvNormAct(quarter, eighth, stride=2), Residual(eighth))
        self.down16 = nn.Sequential(ConvNormAct(eighth, sixteenth, stride=2), Residual(sixteenth))
        self.up8 = Merge(sixteenth, eighth, eighth)
        self.up4 = Merge(eighth, quarter, quarter)
        self.up2 = Merge(quarter, half, width)
        self.surface_sizes = {"depth": 1, "normal": 3, "edge": 4, "semantic": config.semantic_classes}
        self.thing_sizes = {"classes": config.instance_classes + 1, "centre": 1, "offset": 2, "text": 1}
        self.surfaces = nn.Sequential(ConvNormAct(width, width), nn.Conv2d(width, sum(self.surface_sizes.values()), 1))
        self.things = nn.Sequential(ConvNormAct(width, width), nn.Conv2d(width, sum(self.thing_sizes.values()), 1))
        self.reader = Reader(len(config.words))
        self.word_features: Tensor
        self.register_buffer("word_features", torch.zeros(len(config.words), 64))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predicts all maps.

        Args:
            images: uint8 (b, 3, s, s).

        Returns:
            `depth` (b, 1, s/2, s/2); `normal` (b, 3, s/2, s/2), not normalised; `edge` (b, 1, s, s), logits of
            the strength; logits (b, ..., s/2, s/2) of `semantic`, `classes` (the last is background), `text` and
            an instance's `centre`; `offset` (b, 2, s/2, s/2) to the centre, x and y in cells.
        """
        half = self.stem(scale(images))
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        shared = self.up2(self.up4(self.up8(self.down16(eighth), eighth), quarter), half)
        maps = {}
        for head, sizes in ((self.surfaces, self.surface_sizes), (self.things, self.thing_sizes)):
            parts = head(shared).split(list(sizes.values()), dim=1)
            maps |= dict(zip(sizes, parts, strict=True))
        maps["edge"] = F.pixel_shuffle(maps["edge"], 2)  # (b, 4, s/2, s/2) -> (b, 1, s, s)
        return maps

    def read(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Reads words: logits (n, words).

        Args:
            images: uint8 (b, 3, s, s).
            boxes: (n, 5): index of the image, then left, top, right, bottom in its pixels.
        """
        return self.reader(roi_align(scale(images), boxes, READER_SIZE, sampling_ratio=2, aligned=True))


def scale(images: Tensor) -> Tensor:
    """Scales bytes to -2 .. 2, and stores channels last (faster on a CPU)."""
    return ((images.float() - 128) / 64).contiguous(memory_format=torch.channels_last)
