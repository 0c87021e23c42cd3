"""CharNet with an hourglass-88 backbone (arXiv 1910.07954), with the module names of the released weights."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 68  # characters
STRIDE = 4  # pixels of the input per cell of the maps
_DEPTH = 3  # halvings in an hourglass
_TBLR_SCALE = 10.0


class Heads(NamedTuple):
    """The network's maps; h and w are a fourth of the input's sides.

    Attributes:
        word_fg: logits of (no text, text), (b, 2, h, w).
        word_tblr: distances from the cell to the top, bottom, left and right edge of the word, in cells,
            (b, 4, h, w).
        word_orientation: the word's angle in radians, (b, 1, h, w).
        char_fg: as `word_fg`.
        char_tblr: as `word_tblr`, to the character's edges.
        char_class: logits, (b, 68, h, w).
    """

    word_fg: Tensor
    word_tblr: Tensor
    word_orientation: Tensor
    char_fg: Tensor
    char_tblr: Tensor
    char_class: Tensor


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv_1 = nn.Sequential(*_conv_norm(inputs, outputs, stride), nn.ReLU(inplace=True))
        self.conv_2 = nn.Sequential(*_conv_norm(outputs, outputs))
        changes = stride != 1 or inputs != outputs
        self.skip = nn.Sequential(*_conv_norm(inputs, outputs, stride)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_2(self.conv_1(x)) + self.skip(x))


class Hourglass(nn.Module):
    """Adds to a map of `width` channels its features at half the size, recursively `depth` times.

    The smallest map has twice as many channels.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        inner = width if depth > 1 else 2 * width
        self.up_1 = nn.Sequential(Residual(width, width), Residual(width, width))
        self.low_1 = nn.Sequential(Residual(width, inner), Residual(inner, inner))
        bottom = nn.Sequential(Residual(inner, inner), Residual(inner, inner))
        self.low_2 = Hourglass(depth - 1, width) if depth > 1 else bottom
        self.low_3 = nn.Sequential(Residual(inner, inner), Residual(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        low = self.low_3(self.low_2(self.low_1(F.max_pool2d(x, 2))))
        return self.up_1(x) + F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=True)


class Backbone(nn.Sequential):
    """Images (b, 3, H, W) -> features (b, width, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(
            nn.Conv2d(3, width // 2, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
            Residual(width // 2, width, stride=2),
        )
        self.hourglass_blocks = nn.Sequential(Hourglass(_DEPTH, width), Hourglass(_DEPTH, width))


class ConvNormAct(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv_norm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class WordDetector(nn.Module):
    """Finds words."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.word_det_conv_final = ConvNormAct(inputs, width)
        self.word_fg_feat = ConvNormAct(width, width)
        self.word_regression_feat = ConvNormAct(width, width)
        self.word_fg_pred = nn.Conv2d(width, 2, 1)
        self.word_tblr_pred = nn.Conv2d(width, 4, 1)
        self.orient_pred = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.word_det_conv_final(features)
        regression = self.word_regression_feat(x)
        tblr = F.relu(self.word_tblr_pred(regression)) * _TBLR_SCALE
        return self.word_fg_pred(self.word_fg_feat(x)), tblr, self.orient_pred(regression)


class CharDetector(nn.Module):
    """Finds characters."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.character_det_conv_final = ConvNormAct(inputs, width)
        self.char_fg_feat = ConvNormAct(width, width)
        self.char_regression_feat = ConvNormAct(width, width)
        self.char_fg_pred = nn.Conv2d(width, 2, 1)
        self.char_tblr_pred = nn.Conv2d(width, 4, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = self.character_det_conv_final(features)
        tblr = F.relu(self.char_tblr_pred(self.char_regression_feat(x))) * _TBLR_SCALE
        return self.char_fg_pred(self.char_fg_feat(x)), tblr


class CharRecogniser(nn.Sequential):
    """Classifies characters."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNormAct(inputs, width), ConvNormAct(width, width), ConvNormAct(width, width))
        self.classifier = nn.Conv2d(width, CLASSES, 1)


class CharNet(nn.Module):
    """Normalised RGB images (b, 3, H, W), sides multiples of 32 -> `Heads`."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.backbone = Backbone(width)
        self.word_detector = WordDetector(width, width // 2)
        self.char_detector = CharDetector(width, width // 2)
        self.char_recognizer = CharRecogniser(width, width // 2)

    def forward(self, images: Tensor) -> Heads:
        features = self.backbone(images)
        return Heads(*self.word_detector(features), *self.char_detector(features), self.char_recognizer(features))
