"""UniDet (arXiv 2102.13086): one detector for the classes of COCO, Objects365, OpenImages and Mapillary."""

from collections import OrderedDict

import timm
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from experts.batches import normalise
from experts.detection.cascade import LEVELS, Cascade
from experts.detection.detections import Detections, detections
from experts.detection.proposals import CHANNELS, Proposals
from experts.finite import check_finite

MEAN = (123.68, 116.779, 103.939)
STD = (58.393, 57.12, 57.375)
SCORE_THRESHOLD = 0.5
_ALIGNMENT = 32  # sides are padded to a multiple, since the body halves them five times


class Pyramid(nn.Module):
    """ResNeSt-200 and a feature pyramid network (arXiv 1612.03144) over its stages at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model("resnest200e", features_only=True, out_indices=(2, 3, 4))
        widths = self.body.feature_info.channels()
        top = LastLevelP6P7(CHANNELS, CHANNELS)
        self.fpn = FeaturePyramidNetwork(widths, CHANNELS, extra_blocks=top, norm_layer=nn.BatchNorm2d)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (b, 3, h, w), sides multiples of 32 -> p3 to p7, each (b, 256, h', w')."""
        stages = OrderedDict((str(index), features) for index, features in enumerate(self.body(images)))
        return list(self.fpn(stages).values())


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
            images: (b, 3, h, w), normalised and padded.
            sizes: height and width of each image without padding.

        Raises:
            NotFinite: a feature, a box or a score is NaN or infinite.
        """
        levels = self.pyramid(images)
        check_finite(levels)
        proposed = [boxes for boxes, _ in self.proposals(levels, sizes)]
        found = self.cascade(levels[:LEVELS], proposed, sizes, SCORE_THRESHOLD)
        return [
            detections(boxes, scores, size, SCORE_THRESHOLD)
            for (boxes, scores), size in zip(found, sizes, strict=True)
        ]


def normalise_and_pad(image: Tensor) -> Tensor:
    """Bytes (3, h, w) -> zero mean, unit deviation, padded with zeros on the right and below."""
    height, width = image.shape[1:]
    return F.pad(normalise(image, MEAN, STD), (0, -width % _ALIGNMENT, 0, -height % _ALIGNMENT))
