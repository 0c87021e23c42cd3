"""The network of NLL-AngMF (arXiv 2109.09881): EfficientNet-B5 and a decoder that refines per pixel."""

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_USED_BLOCKS = (0, 1, 2, 4)  # the last blocks at 1/2, 1/4, 1/8 and 1/16 of the image's side
_MINIMAL_KAPPA = 0.01


class NormalNetwork(nn.Module):
    """Normalised RGB (b, 3, h, w) -> unit surface normals (b, 3, h, w); sides are multiples of 32.

    Args:
        encoder: the EfficientNet in timm.
        width: channels of the decoder at 1/32 of the image's side; each finer level has half as many.
    """

    def __init__(self, encoder: str = "tf_efficientnet_b5", width: int = 2048) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.decoder = Decoder(self.encoder.widths, width)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


class Encoder(nn.Module):
    """Features at 1/2, 1/4, 1/8, 1/16 and 1/32; `widths` are their channels."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.original_model = timm.create_model(name, num_classes=0)
        stages = self.original_model.feature_info[:4]
        self.widths = [*(stage["num_chs"] for stage in stages), self.original_model.conv_head.out_channels]

    def forward(self, images: Tensor) -> list[Tensor]:
        model = self.original_model
        x = model.bn1(model.conv_stem(images))
        features = []
        for index, block in enumerate(model.blocks):
            x = block(x)
            if index in _USED_BLOCKS:
                features.append(x)
        return [*features, model.conv_head(x)]


class UpSample(nn.Module):
    """Enlarges a map to the size of a finer one and merges the two."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self._net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(),
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        enlarged = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)
        return self._net(torch.cat([enlarged, fine], dim=1))


class PixelMlp(nn.Sequential):
    """An MLP with three hidden layers for each pixel: (b, inputs, h, w) -> (b, 4, h, w)."""

    def __init__(self, inputs: int, hidden: int = 128) -> None:
        layers: list[nn.Module] = []
        for width in (inputs, hidden, hidden):
            layers += [nn.Conv1d(width, hidden, 1), nn.ReLU()]
        super().__init__(*layers, nn.Conv1d(hidden, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2)).unflatten(2, x.shape[2:])


class Decoder(nn.Module):
    """Predicts a normal and its concentration kappa at 1/8, then refines them at each finer level."""

    def __init__(self, skips: list[int], width: int) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth, bottom = skips
        self.conv2 = nn.Conv2d(bottom, width, 1)
        self.up1 = UpSample(width + sixteenth, width // 2)
        self.up2 = UpSample(width // 2 + eighth, width // 4)
        self.up3 = UpSample(width // 4 + quarter, width // 8)
        self.up4 = UpSample(width // 8 + half, width // 16)
        self.out_conv_res8 = nn.Conv2d(width // 4, 4, 3, padding=1)
        self.out_conv_res4 = PixelMlp(width // 4 + 4)
        self.out_conv_res2 = PixelMlp(width // 8 + 4)
        self.out_conv_res1 = PixelMlp(width // 16 + 4)

    def forward(self, features: list[Tensor]) -> Tensor:
        half, quarter, eighth, sixteenth, bottom = features
        x8 = self.up2(self.up1(self.conv2(bottom), sixteenth), eighth)
        x4 = self.up3(x8, quarter)
        x2 = self.up4(x4, half)
        predicted = _distribution(self.out_conv_res8(x8))
        refinements = ((x8, self.out_conv_res4), (x4, self.out_conv_res2), (x2, self.out_conv_res1))
        for coarse, refine in refinements:
            seen = torch.cat([coarse, predicted], dim=1)
            enlarged = F.interpolate(seen, scale_factor=2, mode="bilinear", align_corners=True)
            predicted = _distribution(refine(enlarged))
        return predicted[:, :3]


def _distribution(raw: Tensor) -> Tensor:
    """(b, 4, h, w) of any values -> a unit vector and a positive kappa."""
    vector, kappa = raw[:, :3], raw[:, 3:]
    unit = vector / (torch.linalg.vector_norm(vector, dim=1, keepdim=True) + 1e-10)
    return torch.cat([unit, F.elu(kappa) + 1 + _MINIMAL_KAPPA], dim=1)
