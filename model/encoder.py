"""The expert encoder: RGB image and expert labels to one sequence of tokens."""

import math
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from model.config import PrismerConfig
from model.inputs import Inputs
from model.modalities import Kind, Modality, modality
from model.modules.norm import LayerNorm
from model.modules.positions import resizing
from model.modules.resampler import Resampler
from model.modules.stems import Stem
from model.modules.vit import VisionTransformer

INSTANCE_ROWS = 128
INSTANCE_IDS = 256  # the values a byte map can have


class ExpertEncoder(nn.Module):
    """Stems, shared positions, experts resampler, and CLIP's vision transformer with adaptors.

    Without experts it has no resampler and sees the RGB tokens alone (PrismerZ).
    """

    def __init__(self, config: PrismerConfig) -> None:
        super().__init__()
        vision = config.vision
        if config.compat:  # the original's tower differs for ViT-H/14 alone
            vision = replace(vision, heads=vision.width // 64, activation="quick_gelu")
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
            inputs: `rgb` (b, 3, H, H), and the labels of the configuration's experts: a tensor
                (b, c, L, L) in [-1, 1], or a `LabelMap`. A missing modality contributes no tokens; without
                any label there are no resampled tokens, and the model sees what a PrismerZ sees.
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
        """The tokens of all labels in `inputs`, at least one, as the resampler reads them: (b, l, d)."""
        if instance_indices is None:
            instance_indices = self._draw_instance_indices(inputs["rgb"].device)
        present = [entry for entry in self.modalities if entry.name in inputs]
        each = [tokens(self._features(entry, inputs, instance_indices)) for entry in present]
        return self._placed(torch.stack(each, dim=1)).flatten(1, 2)  # (b, experts, g * g, d) -> (b, l, d)

    def _features(self, entry: Modality, inputs: Inputs, instance_indices: Tensor) -> Tensor:
        """An expert's label through its stem: (b, d, L / patch_size, L / patch_size)."""
        label = inputs[entry.name]
        features = self.conv1[entry.stem](label)
        if entry.kind is Kind.INSTANCE:
            ids = label.index[:, 0, :: self.patch_size, :: self.patch_size].int()  # nearest: (b, g, g)
            rows = F.embedding(instance_indices[ids], self.instance_embedding)
            features = features + rearrange(rows, "b y x d -> b d y x").to(features.dtype)
        return features

    def _placed(self, x: Tensor) -> Tensor:
        """Tokens (..., g * g, d) with positions, in their type."""
        table, grid = self.positional_embedding, math.isqrt(x.shape[-2])
        side = math.isqrt(len(table))
        if side != grid:
            autocast = torch.amp.is_autocast_available(table.device.type)  # not on meta
            with torch.autocast(table.device.type, enabled=False) if autocast else nullcontext():
                table = resizing(side, grid, table.device) @ table
        return x + table.to(x.dtype)

    def _draw_instance_indices(self, device: torch.device) -> Tensor:
        """A row of the instance embedding for each id that an instance map can have, int64 (256,)."""
        if self.training:
            return torch.randint(INSTANCE_ROWS, (INSTANCE_IDS,), device=device)
        return fixed_instance_indices(device)


def tokens(features: Tensor) -> Tensor:
    """(b, d, g, g) -> (b, g * g, d)."""
    return rearrange(features, "b d y x -> b (y x) d")


def patch_tokens(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`tokens` of a convolution with disjoint patches, as a product: GPUs have slow kernels for it.

    Args:
        layer: without bias.
        x: (b, c, H, H).

    Returns:
        (b, g * g, d).
    """
    size = layer.kernel_size[0]
    side = x.shape[-1] // size * size  # pixels that whole patches cover
    patches = rearrange(x[..., :side, :side], "b c (y i) (x j) -> b (y x) (c i j)", i=size, j=size)
    return F.linear(patches, layer.weight.flatten(1))


@cache
def fixed_instance_indices(device: torch.device) -> Tensor:
    """The rows of the instance embedding outside of training, int64 (256,): the same on every device."""
    with torch.inference_mode(False):
        generator = torch.Generator("cpu").manual_seed(0)
        return torch.randint(INSTANCE_ROWS, (INSTANCE_IDS,), generator=generator, device="cpu").to(device)
