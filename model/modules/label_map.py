"""Label maps as they travel: a byte a pixel and a small table of embeddings."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model.modalities import BACKGROUND


class LabelMap(NamedTuple):
    """A map of class, instance or word indices with the embeddings they stand for.

    It stands for the map (b, c, L, L) of the embedding of each pixel, which is never built.

    Attributes:
        index: uint8 (b, 1, L, L). 255, and every index without a row, means background.
        table: float (n + 1, c), or (b, n + 1, c) if every sample has its own; the last row is background.
    """

    index: Tensor
    table: Tensor

    def filled(self) -> "LabelMap":
        """The same map; where each sample has a table, with a row for every byte: shapes are alike then."""
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

        # the 2 x 2 neighbours of each output pixel: (b, side, side, 2, 2) -> (b, side * side, 4)
        rows = self.index[:, 0, near[:, None, :, None], near[None, :, None, :]].long().flatten(3).flatten(1, 2)
        rows = rows.masked_fill(rows == BACKGROUND, background).clamp(max=background)
        weights = (share[:, None, :, None] * share[None, :, None, :]).flatten(2).flatten(0, 1)
        if self.table.dim() == 3:  # sample i has the rows from i * (n + 1) of the flattened table
            rows = rows + torch.arange(batch, device=rows.device)[:, None, None] * (background + 1)
        out = F.embedding_bag(
            rows.flatten(0, 1),
            self.table.reshape(-1, self.table.shape[-1]),
            mode="sum",
            per_sample_weights=weights.to(self.table.dtype).repeat(batch, 1),
        )
        return out.view(batch, side, side, -1).permute(0, 3, 1, 2)  # channels last in memory
