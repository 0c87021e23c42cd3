"""The parts of RoBERTa, made a decoder: embeddings, layers with cross-attention and adaptor, LM head.

Child modules are named as in the released checkpoints, which follow transformers' RoBERTa.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import TextConfig
from model.kv_cache import LayerCache
from model.modules.adaptor import LanguageAdaptor
from model.modules.attention import attention_weights
from model.modules.norm import LayerNorm


class Embeddings(nn.Module):
    """Word, token type and position embeddings, and their norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_id)
        self.position_embeddings = nn.Embedding(config.max_positions, config.hidden_size, config.pad_id)
        self.token_type_embeddings = nn.Embedding(1, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        # Unused, but a key of the released files. It is real even in a model on the device meta, because
        # files without it load as well.
        self.register_buffer("position_ids", torch.arange(config.max_positions, device="cpu")[None])

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Token ids and positions, both (b, l) -> (b, l, d)."""
        x = self.word_embeddings(ids) + self.position_embeddings(positions) + self.token_type_embeddings.weight
        return self.dropout(self.LayerNorm(x))


class QueryKeyValue(nn.Module):
    """Query, key and value projections."""

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)


class PostNorm(nn.Module):
    """The end of a residual branch: projection, dropout, sum, norm."""

    def __init__(self, in_width: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_width, width)
        self.LayerNorm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, branch: Tensor, residual: Tensor) -> Tensor:
        """(b, l, in_width) and (b, l, d) -> (b, l, d)."""
        return self.LayerNorm(self.dropout(self.dense(branch)) + residual)


class TextAttention(nn.Module):
    """Self- or cross-attention with post-norm. Keys and values are computed apart, for the cache."""

    def __init__(self, config: TextConfig, context_width: int) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.self = QueryKeyValue(config.hidden_size, context_width)
        self.output = PostNorm(config.hidden_size, config.hidden_size, config.dropout)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """(b, m, context_width) -> two of (b, heads, m, d / heads)."""
        return self._split(self.self.key(context)), self._split(self.self.value(context))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None) -> Tensor:
        """Attends from every token of `x` to its visible keys.

        Args:
            x: (b, l, d).
            keys: (b, heads, m, d / heads).
            values: (b, heads, m, d / heads).
            visible: (b, l, m), see `DecoderLayer`; None: all of them.

        Returns:
            (b, l, d).
        """
        out = F.scaled_dot_product_attention(
            self._split(self.self.query(x)),
            keys,
            values,
            attn_mask=None if visible is None else visible[:, None],  # (b, l, m) -> (b, 1, l, m)
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(rearrange(out, "b h l c -> b l (h c)"), x)

    def weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """The attention weights, float32 (b, heads, l, m), with all keys visible."""
        return attention_weights(self._split(self.self.query(x)), keys)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h c) -> b h l c", h=self.heads)


class RobertaLayer(nn.Module):
    """A layer of RoBERTa, in two halves: `DecoderLayer` puts cross-attention and adaptor between them."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = TextAttention(config, config.hidden_size)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.ffn_size)})
        self.output = PostNorm(config.ffn_size, config.hidden_size, config.dropout)

    def attend(self, x: Tensor, visible: Tensor, cache: LayerCache | None) -> Tensor:
        """The self-attention half: (b, l, d) -> (b, l, d)."""
        keys, values = self.attention.keys_values(x)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        return self.attention(x, keys, values, visible)

    def transform(self, x: Tensor) -> Tensor:
        """The feed-forward half: (b, l, d) -> (b, l, d)."""
        return self.output(F.gelu(self.intermediate["dense"](x)), x)

    def forward(self, x: Tensor, visible: Tensor, cache: LayerCache | None = None) -> Tensor:
        """Both halves; the arguments are those of `DecoderLayer`."""
        return self.transform(self.attend(x, visible, cache))


class DecoderLayer(nn.Sequential):
    """One layer of the decoder: RoBERTa's is child `0`, cross-attention child `1`, adaptor child `2`."""

    def __init__(self, config: TextConfig, vision_width: int) -> None:
        super().__init__(
            RobertaLayer(config), TextAttention(config, vision_width), LanguageAdaptor(config.hidden_size)
        )

    def forward(self, x: Tensor, visible: Tensor, encoded: Tensor, cache: LayerCache | None = None) -> Tensor:
        """Self-attention, cross-attention, adaptor, MLP.

        Args:
            x: (b, l, d).
            visible: (b, l, m), the tokens each new token attends to, among the m of its text so far; bool, or
                additive (`model.decoder.as_bias`).
            encoded: (b / q, n, vision width), the encoder's tokens of each image; its q texts are together.
            cache: keys and values of earlier calls; None if this is the only call.

        Returns:
            (b, l, d).
        """
        roberta, cross_attention, adaptor = self
        x = roberta.attend(x, visible, cache)
        if cache is None:
            keys, values = cross_attention.keys_values(encoded)
        else:
            keys, values = cache.context(cross_attention.keys_values, encoded)
        # The q texts of an image become one sequence, so the image's keys are computed once and not copied.
        sequence = rearrange(x, "(i q) l d -> i (q l) d", i=len(encoded))
        return roberta.transform(adaptor(cross_attention(sequence, keys, values).view_as(x)))


class LMHead(nn.Module):
    """Hidden states to logits. `decoder.weight` and `decoder.bias` are tied by `TextDecoder.tie_weights`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = LayerNorm(config.hidden_size)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., vocabulary)."""
        return self.decoder(self.layer_norm(F.gelu(self.dense(x))))
