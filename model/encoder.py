"""The expert encoder: RGB image and expert labels to one sequence of tokens."""

import math
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from model.config import PrismerConfig, VisionConfig
from model.inputs import Inputs
from model.modalities import Kind, Modality, modality
from model.modules.norm import LayerNorm, without_autocast
from model.modules.resampler import Resampler
from model.modules.stems import Stem
from model.modules.vit import VisionTransformer

INSTANCE_ROWS = 128
INSTANCE_IDS = 256  # the values a byte map can have
# Which row an instance id gets when not training; the same on every device and in every batch.
FIXED_INSTANCE_INDICES = torch.randint(
    INSTANCE_ROWS, (INSTANCE_IDS,), generator=torch.Generator("cpu").manual_seed(0), device="cpu"
)


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Resizes a table of the positions of a square grid, bicubically: (n * n, d) -> (grid * grid, d)."""
    side = math.isqrt(len(table))
    if side == grid:
        return table
    plane = table.T.unflatten(1, (side, side))[None]  # (n * n, d) -> (1, d, n, n)
    plane = F.interpolate(plane, size=(grid, grid), mode="bicubic", align_corners=False)
    return plane[0].flatten(1).T  # (1, d, grid, grid) -> (grid * grid, d)


@cache
def resizing(side: int, grid: int, device: torch.device) -> Tensor:
    """What `resize_positions` multiplies a table by: (grid * grid, side * side)."""
    with torch.inference_mode(False), torch.no_grad():  # it may serve training later
        return resize_positions(torch.eye(side * side, device="cpu"), grid).to(device)


@cache
def fixed_instance_indices(device: torch.device) -> Tensor:
    """`FIXED_INSTANCE_INDICES` on a device, which is waited for once."""
    with torch.inference_mode(False):
        return FIXED_INSTANCE_INDICES.to(device)


def tokens(features: Tensor) -> Tensor:
    """(b, d, g, g) -> (b, g * g, d)."""
    return features.flatten(2).mT


def patch_tokens(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`tokens` of a convolution whose patches do not overlap, as a product: GPUs have slow kernels for it.

    Args:
        layer: without bias.
        x: (b, c, H, H).

    Returns:
        (b, g * g, d).
    """
    size = layer.kernel_size[0]
    grid = x.shape[-1] // size
    x = x[..., : grid * size, : grid * size].unflatten(2, (grid, size)).unflatten(4, (grid, size))
    x = x.permute(0, 2, 4, 1, 3, 5)  # (b, c, g, p, g, p) -> (b, g, g, c, p, p)
    return F.linear(x.flatten(3).flatten(1, 2), layer.weight.flatten(1))


def original_vision(config: VisionConfig) -> VisionConfig:
    """The tower as the original builds it; it differs for ViT-H/14 alone."""
    return replace(config, heads=config.width // 64, activation="quick_gelu")


class ExpertEncoder(nn.Module):
    """Stems, shared positions, experts resampler, and CLIP's vision transformer with adaptors.

    Without experts it has no resampler and sees the RGB tokens alone (PrismerZ).
    """

    def __init__(self, config: PrismerConfig) -> None:
        super().__init__()
        vision = original_vision(config.vision) if config.compat else config.vision
        width, self.patch_size = vision.width, vision.patch_size
        self.modalities = [modality(name) for name in config.experts]
        if self.modalities and config.label_resolution % self.patch_size:
            sizes = f"{config.label_resolution} is not a multiple of the patch size {self.patch_size}"
            raise UserError(f"label_resolution {sizes}")

        grid = config.image_resolution // self.patch_size
        self.positional_embedding = nn.Parameter(torch.empty(grid * grid, width))
        nn.init.normal_(self.positional_embedding, std=width**-0.5)
        if any(entry.kind is Kind.INSTANCE for entry in self.modalities):
            self.instance_embedding = nn.Parameter(torch.empty(INSTANCE_ROWS, width))
            nn.init.normal_(self.instance_embedding, std=width**-0.5)
        self.conv1 = nn.ModuleDict({"rgb": nn.Conv2d(3, width, self.patch_size, self.patch_size, bias=False)})
        for entry in self.modalities:
            self.conv1[entry.stem] = Stem(entry, width, self.patch_size)
        self.transformer = VisionTransformer(vision)
        if self.modalities:
            self.resampler = Resampler(vision)
        self.ln_pre = LayerNorm(width)
        self.ln_post = LayerNorm(width)

    def blocks(self) -> list[nn.Module]:
        """The repeated units."""
        resampler = self.resampler.perceiver_blocks if self.modalities else []
        return [*self.transformer.resblocks, *resampler]

    def forward(self, inputs: Inputs, instance_indices: Tensor | None = None) -> Tensor:
        """Encodes a batch.

        Args:
            inputs: `rgb` (b, 3, H, H), and for the experts of the configuration their labels: a tensor
                (b, c, L, L) in [-1, 1], or a `LabelMap`. One that has no label here has no tokens; without
                any label there are no resampled tokens either, and the model sees what a PrismerZ sees.
            instance_indices: int64 (256,), the row of the instance embedding of each instance id. By
                default drawn anew in training, fixed otherwise.

        Returns:
            (b, l, d): RGB tokens first, then the 64 resampled tokens of the experts.
        """
        rgb, patches = inputs["rgb"], self.conv1["rgb"]
        x = self._placed(patch_tokens(patches, rgb) if rgb.is_cuda else tokens(patches(rgb)))
        if any(entry.name in inputs for entry in self.modalities):
            x = torch.cat([x, self.resampler(self.label_tokens(inputs, instance_indices))], dim=1)
        return self.ln_post(self.transformer(self.ln_pre(x)))

    def label_tokens(self, inputs: Inputs, instance_indices: Tensor | None = None) -> Tensor:
        """The tokens of all labels that are there, as the resampler reads them: (b, l, d).

        Args:
            inputs: those of `forward`, with a label at least.
            instance_indices: those of `forward`.
        """
        if instance_indices is None:
            instance_indices = self._draw_instance_indices(inputs["rgb"].device)
        present = [entry for entry in self.modalities if entry.name in inputs]
        each = [tokens(self._features(entry, inputs, instance_indices)) for entry in present]
        return self._placed(torch.stack(each, dim=1)).flatten(1, 2)

    def _features(self, entry: Modality, inputs: Inputs, instance_indices: Tensor) -> Tensor:
        """What an expert's stem makes of its label: (b, d, L / patch_size, L / patch_size)."""
        label = inputs[entry.name]
        features = self.conv1[entry.stem](label)
        if entry.kind is Kind.INSTANCE:
            ids = label.index[:, 0, :: self.patch_size, :: self.patch_size].int()  # nearest: (b, g, g)
            rows = F.embedding(instance_indices[ids], self.instance_embedding)
            rows = rows.permute(0, 3, 1, 2)  # (b, g, g, d) -> (b, d, g, g)
            features = features + rows.to(features.dtype)
        return features

    def _placed(self, tokens: Tensor) -> Tensor:
        """Tokens (..., g * g, d) with positions, in their type."""
        return tokens + self._positions(math.isqrt(tokens.shape[-2])).to(tokens.dtype)

    def _positions(self, grid: int) -> Tensor:
        """The table of positions, resized: (grid * grid, d)."""
        table = self.positional_embedding
        side = math.isqrt(len(table))
        if side == grid:
            return table
        with without_autocast(table.device):
            return resizing(side, grid, table.device) @ table

    def _draw_instance_indices(self, device: torch.device) -> Tensor:
        """A row of the instance embedding for each of the 256 ids an instance map can have."""
        if self.training:
            return torch.randint(INSTANCE_ROWS, (INSTANCE_IDS,), device=device)
        return fixed_instance_indices(device)
