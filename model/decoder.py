"""The text decoder: RoBERTa made causal, reading the encoder's tokens through cross-attention."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import PrismerConfig, TextConfig
from model.kv_cache import LayerCache
from model.modules.initialisation import init_weights
from model.modules.roberta import DecoderLayer, Embeddings, LMHead, RobertaLayer

IGNORE = -100  # the target of a position without loss
LABEL_SMOOTHING = 0.1


class LayerStack(nn.Module):
    """The layers, and a plain RoBERTa layer after them."""

    def __init__(self, config: TextConfig, vision_width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(DecoderLayer(config, vision_width) for _ in range(config.layers))
        self.output_layer = RobertaLayer(config)

    def forward(self, x: Tensor, visible: Tensor, encoded: Tensor, cache: list[LayerCache] | None) -> Tensor:
        """(b, l, d) -> (b, l, d); the arguments are those of `DecoderLayer`."""
        *caches, last = cache if cache is not None else [None] * (len(self.layer) + 1)
        for layer, layer_cache in zip(self.layer, caches, strict=True):
            x = layer(x, visible, encoded, layer_cache)
        return self.output_layer(x, visible, last)


class TextDecoder(nn.Module):
    """Embeddings, layers and LM head; word embeddings and LM head share their weights.

    Attributes:
        replay: replaces a beam search's `Beams`, given their number, by faster ones; see
            helpers/performance/inference_graphs.py.
    """

    replay: Callable | None = None

    def __init__(self, config: PrismerConfig) -> None:
        super().__init__()
        self.pad_id = config.text.pad_id
        self.eos_id = config.text.eos_id
        self.max_tokens = config.text.max_positions - config.text.pad_id - 1
        self.roberta = nn.ModuleDict(
            {
                "embeddings": Embeddings(config.text),
                "encoder": LayerStack(config.text, config.vision.width),
            }
        )
        self.lm_head = LMHead(config.text)
        self.apply(partial(init_weights, std=config.text.initializer_range))
        self.tie_weights()
        self.register_load_state_dict_post_hook(lambda module, _: module.tie_weights())

    def tie_weights(self) -> None:
        """Shares the LM head's weights with the word embeddings, and makes its two biases one."""
        self.roberta["embeddings"].word_embeddings.weight = self.lm_head.decoder.weight
        self.lm_head.bias = self.lm_head.decoder.bias

    def _apply(self, fn: Callable, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.tie_weights()  # a move from the meta device makes new parameters
        return self

    def new_cache(self) -> list[LayerCache]:
        """An empty cache for the layers and the output layer."""
        return [LayerCache() for _ in range(len(self.roberta["encoder"].layer) + 1)]

    def positions(self, mask: Tensor) -> Tensor:
        """Positions from a mask (b, l) of real tokens: they count up from pad + 1; a pad's position is pad."""
        return mask.cumsum(dim=1) * mask + self.pad_id

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        visible: Tensor,
        encoded: Tensor,
        cache: list[LayerCache] | None = None,
    ) -> Tensor:
        """Runs new tokens of texts; `lm_head` of the result gives the logits of the next tokens.

        Args:
            ids: int64 (b, l).
            positions: int64 (b, l).
            visible: bool (b, l, m), the tokens each new token attends to, among the m of its text so far,
                new ones included.
            encoded: (b / q, n, vision width), the encoder's tokens of each image; its q texts are adjacent.
            cache: of the earlier tokens; None if there are none.

        Returns:
            Hidden states (b, l, d).
        """
        x = self.roberta["embeddings"](ids, positions)
        return self.roberta["encoder"](x, as_bias(visible, encoded.dtype), encoded, cache)

    def read(self, ids: Tensor, mask: Tensor, encoded: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        """Runs whole texts, padded anywhere.

        Args:
            ids: int64 (b, l).
            mask: int64 (b, l), 1 for real tokens, 0 for pads.
            encoded: (b / q, n, vision width), see `forward`.
            cache: is filled, if more tokens follow.

        Returns:
            Hidden states (b, l, d).
        """
        return self(ids, self.positions(mask), causal(mask.bool()), encoded, cache)

    def loss(self, ids: Tensor, mask: Tensor, places: "Places", encoded: Tensor) -> Tensor:
        """Next-token cross entropy with label smoothing, summed over each text's `places`: float32 (b,).

        The other arguments are those of `read`.
        """
        hidden = self.read(ids, mask, encoded)
        # The LM head is the largest matrix, so it runs only where there is a target: (n, d) -> (n, vocabulary).
        losses = self.token_losses(hidden[places.samples, places.columns], places.targets)
        return losses.new_zeros(len(ids)).index_add(0, places.samples, losses)

    def token_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Losses of hidden states (n, d) and their next tokens (n,): float32 (n,), 0 where the target is IGNORE."""
        logits = self.lm_head(hidden)
        return F.cross_entropy(logits, targets, label_smoothing=LABEL_SMOOTHING, reduction="none")


class Places(NamedTuple):
    """The positions with a loss: text `samples`, token `columns`, whose next token is `targets`; int64 (n,)."""

    samples: Tensor
    columns: Tensor
    targets: Tensor


def loss_places(targets: Tensor, multiple: int = 1) -> Places:
    """Finds the positions with a loss.

    Args:
        targets: int64 (b, l), the token ids, or IGNORE where there is no loss; on the host, because their
            number must be known without waiting for a device.
        multiple: the number of places is padded to a multiple of this, without loss.
    """
    samples, columns = torch.nonzero(targets[:, 1:] != IGNORE, as_tuple=True)
    following = targets[samples, columns + 1]
    rest = (0, -len(samples) % multiple)
    return Places(F.pad(samples, rest), F.pad(columns, rest), F.pad(following, rest, value=IGNORE))


def as_bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as an additive bias, made once for all layers: 0 where it is True, else minus infinity.

    Rows are aligned to 16 bytes, so that fused attention does not copy them in each layer.

    Args:
        visible: bool (b, l, m).
        dtype: of the result.
    """
    length = visible.shape[-1]
    bias = visible.new_zeros(*visible.shape[:-1], length + -length % 8, dtype=dtype)
    return bias[..., :length].masked_fill_(~visible, -torch.inf)


def causal(real: Tensor) -> Tensor:
    """The mask of causal attention within a text: each token attends to itself and to earlier real tokens.

    A pad before the first token has a fully masked row, whose softmax is NaN; it attends everywhere instead,
    and its output is unused.

    Args:
        real: bool (b, l), False for pads.

    Returns:
        bool (b, l, l).
    """
    visible = real[:, None, :].expand(-1, real.shape[1], -1).tril()
    return visible | ~visible.any(dim=-1, keepdim=True)
