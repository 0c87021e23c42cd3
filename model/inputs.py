"""The model's input, made of bytes on the device: scaling, normalisation, tables of embeddings."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.modalities import EMBEDDING_DIM, Kind, Modality, modality
from model.modules.label_map import LabelMap

Inputs = Mapping[str, Tensor | LabelMap]  # by modality, `rgb` among them
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class PrepareInputs(nn.Module):
    """Makes a Prismer's input of a collated batch.

    Args:
        tables: for every expert of semantic or instance kind its class table, float (n, 64).
        background: the embedding of "nothing here", float (64,).
    """

    def __init__(self, tables: Mapping[str, Tensor] | None = None, background: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)
        background = torch.zeros(EMBEDDING_DIM) if background is None else background.float()
        self.register_buffer("background", background, persistent=False)
        for name, table in (tables or {}).items():
            with_background = torch.cat([table.float(), background[None]])  # (n + 1, 64)
            self.register_buffer(f"{name}_table", with_background, persistent=False)

    def forward(self, batch: Mapping) -> Inputs:
        """Prepares a batch, which must be on this module's device.

        Args:
            batch: `rgb` uint8 (b, 3, H, H); `labels` {expert: uint8 (b, c, L, L)}; `tables`, for experts of
                instance kind int64 (b, n), the class of each id, padded with -1, and for experts of words
                kind float (b, n, 64), the embedding of each id, padded with zeros.

        Returns:
            `rgb` float (b, 3, H, H), and for every label a float (b, c, L, L) in [-1, 1] or a `LabelMap`.
        """
        inputs: dict[str, Tensor | LabelMap] = {"rgb": (batch["rgb"] / 255 - self.mean) / self.std}
        for name, label in batch["labels"].items():
            entry = modality(name)
            if entry.is_label_map:
                inputs[name] = LabelMap(label, self._table(entry, batch))
                continue
            # Min-max scaling of each sample over all its channels; a constant label becomes -1.
            label = label / 255
            low, high = label.amin(dim=(1, 2, 3), keepdim=True), label.amax(dim=(1, 2, 3), keepdim=True)
            inputs[name] = 2 * (label - low) / (high - low + 1e-6) - 1
        return inputs

    def _table(self, entry: Modality, batch: Mapping) -> Tensor:
        """The label map's table, background last: (n + 1, 64), or (b, n + 1, 64) where samples differ."""
        if entry.kind is Kind.SEMANTIC:
            return self.get_buffer(f"{entry.name}_table")
        per_sample = batch["tables"][entry.name]
        if entry.kind is Kind.INSTANCE:
            classes = self.get_buffer(f"{entry.name}_table")
            nothing = len(classes) - 1
            rows = classes[per_sample.masked_fill(per_sample < 0, nothing).clamp(max=nothing)]
        else:
            padding = ~per_sample.any(dim=-1, keepdim=True)
            rows = torch.where(padding, self.background, per_sample)
        background = self.background.expand(len(rows), 1, -1)
        return torch.cat([rows, background], dim=1)  # (b, n, 64) -> (b, n + 1, 64)
