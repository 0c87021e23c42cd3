"""Label maps in a compact form: a byte a pixel and a small table of embeddings."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from model.modalities import BACKGROUND


class LabelMap(NamedTuple):
    """A map of class, instance or word indices, and the embeddings they stand for.

    It replaces the map (b, c, L, L) of each pixel's embedding, which is never built.

    Attributes:
        index: uint8 (b, 1, L, L). 255, and every index without a row, means background.
        table: float (n + 1, c), or (b, n + 1, c) if every sample has its own; the last row is background.
    """

    index: Tensor
    table: Tensor

    def filled(self) -> "LabelMap":
        """The same map with a row for every byte, if each sample has a table: all batches have one shape."""
        if self.table.dim() == 2:
            return self
        missing = max(BACKGROUND + 1 - self.table.shape[1], 0)
        return self._replace(table=torch.cat([self.table, self.table[:, -1:].expand(-1, missing, -1)], dim=1))

    def resize(self, side: int) -> Tensor:
        """The map of embeddings, resized bilinearly with aligned corners: (b, c, side, side).

        Only the four neighbours of each output pixel are looked up.
        """
        batch, _, length, _ = self.index.shape
        background = self.table.shape[-2] - 1
        # rounded as F.interpolate rounds it
        place = torch.arange(side, device=self.index.device) * ((length - 1) / max(side - 1, 1))
        low = place.long().clamp(max=length - 1)
        high = (low + 1).clamp(max=length - 1)
        near = torch.stack([low, high], dim=-1)  # (side, 2)
        share = torch.stack([1 - (place - low), place - low], dim=-1)  # (side, 2)

        # The 2 x 2 neighbours of each output pixel: (b, side, side, 2, 2).
        rows = self.index[:, 0, near[:, None, :, None], near[None, :, None, :]].long()
        rows = rows.masked_fill(rows == BACKGROUND, background).clamp(max=background)
        weights = share[:, None, :, None] * share[None, :, None, :]  # (side, side, 2, 2)
        if self.table.dim() == 3:  # sample i has the rows from i * (n + 1) of the flattened table
            rows = rows + torch.arange(batch, device=rows.device)[:, None, None, None, None] * (background + 1)
        out = F.embedding_bag(
            rearrange(rows, "b y x i j -> (b y x) (i j)"),
            self.table.reshape(-1, self.table.shape[-1]),
            mode="sum",
            per_sample_weights=repeat(weights.to(self.table.dtype), "y x i j -> (b y x) (i j)", b=batch),
        )
        # A view: channels stay last in memory.
        return rearrange(out, "(b y x) c -> b c y x", b=batch, y=side)
