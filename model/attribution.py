"""What the words of a text were read from: attention by modality, and what each expert changed.

**Mass.** A token of the text is written from the row of the decoder before it. In that row the weights of
the cross-attention, mean over layers and heads, say how much of it went to each token of the encoder's
sequence, RGB tokens and latents; they sum to one. The weight of a latent is passed on to the expert tokens
that the latent was made of, by attention rollout (https://arxiv.org/abs/2005.00928) through the resampler:
with A the weights of a block, mean over heads, from the latents to the latents and to the tokens, the shares
S (latents, tokens) of the tokens in the latents become

    S <- (S + A_latents S + A_tokens) / 2,        S = 0 before the first block,

the halves being the residual branch and the attention. After the last block each row is divided by its sum:
what remains of the learned latents is the same for every image, and tells nothing about one. The mass of a
word on a modality is the sum over that modality's tokens, mean over the word's tokens. It sums to one over
the modalities.

This is a description of attention, not of causes. Values may be ignored that were attended to, and the
vision transformer has mixed RGB tokens and latents with each other before the decoder reads either: what
stands at a token's place may have come from elsewhere.

**Effect.** What a cause would change can be measured: an expert is left out, its tokens with it, and the
text's log-probability is computed again. The effect of the expert on a word is by how much the word was
likelier with it, in nats. Experts tell much alike, so effects need not add up: of two that say the same
neither is missed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.errors import UserError
from model.inputs import Inputs
from model.modules.resampler import LATENTS
from model.prismer import Prismer

RGB = "rgb"
SPACE = "Ġ"  # how byte-level BPE writes the space that begins a word


@dataclass(frozen=True)
class Attribution:
    """What each of the w words of a text was read from; all tensors are float32 on the host.

    Attributes:
        words: pieces of a word are put together.
        log_probs: (w,), of the words, each after those before it; the end of the text does not count.
        tokens: for the image (`rgb`) and each expert (w, g, g), the mass on each of its tokens, in the
            places they have in the image; over all modalities it sums to one for each word.
        latents: (w, 64), the weight on each resampled token; (w, 0) if there are none.
        without: for each expert (w,), the words' log-probabilities without it.
    """

    words: tuple[str, ...]
    log_probs: Tensor
    tokens: dict[str, Tensor]
    latents: Tensor
    without: dict[str, Tensor]

    @cached_property
    def masses(self) -> dict[str, Tensor]:
        """For the image and each expert (w,): the mass of each word on it."""
        return {name: mass.sum(dim=(1, 2)) for name, mass in self.tokens.items()}

    @cached_property
    def effects(self) -> dict[str, Tensor]:
        """For each expert (w,): by how much each word was likelier with it, in nats."""
        return {name: self.log_probs - log_probs for name, log_probs in self.without.items()}


@torch.no_grad()
def find_attribution(
    model: Prismer,
    inputs: Inputs,
    starts: Sequence[Sequence[int]],
    texts: Sequence[str],
    instance_indices: Tensor | None = None,
) -> list[Attribution]:
    """Reads finished texts once more, to see what they were written from.

    It takes the encoder and the decoder once, and once more for each expert; writing texts pays nothing.

    Args:
        model: in evaluation mode.
        inputs: the input of `ExpertEncoder`, b images; experts without a label have no part in it.
        starts: b lists of token ids, what the texts were to continue, start token included.
        texts: b texts that continue them, with the space before their first word.
        instance_indices: those of `ExpertEncoder`.

    Raises:
        UserError: a text is too long for the text tower.
    """
    ends = [model.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    ids = [torch.tensor([*start, *end]) for start, end in zip(starts, ends, strict=True)]
    longest = max(map(len, ids))
    if longest > model.text_decoder.max_tokens:
        limit = model.text_decoder.max_tokens
        raise UserError(f"a text of {longest} tokens is longer than the text tower's {limit}; shorten it")

    names = [entry.name for entry in model.expert_encoder.modalities if entry.name in inputs]
    resampler = [block.attn for block in model.expert_encoder.resampler.perceiver_blocks] if names else []
    cross = [layer[1] for layer in model.text_decoder.roberta["encoder"].layer]
    with _recorded(resampler) as blocks:
        encoded = model.expert_encoder(inputs, instance_indices)
    with _recorded(cross) as layers:
        log_probs = _token_log_probs(model, ids, encoded)
    latents = LATENTS if names else 0
    weights = torch.stack(layers).mean(dim=0)  # (b, l, n): from the row before each token
    to_rgb, to_latents = weights.split([weights.shape[-1] - latents, latents], dim=-1)
    mass = torch.cat([to_rgb, to_latents @ _shares(blocks)], dim=-1) if names else to_rgb
    without = {
        name: _token_log_probs(model, ids, model.expert_encoder(_left_out(inputs, name), instance_indices))
        for name in names
    }

    found = []
    for sample, (start, end) in enumerate(zip(starts, ends, strict=True)):
        rows = slice(len(start) - 1, len(start) - 1 + len(end))
        words, owner = _words(model, end)
        sums = _sum_by_word(owner, len(words))  # (w, t)
        means = sums / sums.sum(dim=1, keepdim=True)
        by_token = (means @ mass[sample, rows]).float()  # (w, rgb tokens + expert tokens)
        image, rest = by_token.split([to_rgb.shape[-1], mass.shape[-1] - to_rgb.shape[-1]], dim=-1)
        parts = [image, *(rest.chunk(len(names), dim=-1) if names else ())]  # experts have as many each
        found.append(
            Attribution(
                words=words,
                log_probs=(sums @ log_probs[sample, rows]).float(),
                tokens={name: _as_grid(part) for name, part in zip([RGB, *names], parts, strict=True)},
                latents=(means @ to_latents[sample, rows]).float(),
                without={name: (sums @ other[sample, rows]).float() for name, other in without.items()},
            )
        )
    return found


@contextmanager
def _recorded(attentions: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Notes the weights of attentions that this thread runs meanwhile: float64 (b, l, m), mean over heads."""
    weights: list[Tensor] = []
    thread = get_ident()

    def note(attention: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if get_ident() == thread:
            weights.append(attention.weights(*arguments[:2]).mean(dim=1).cpu().double())

    hooks = [attention.register_forward_pre_hook(note) for attention in attentions]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()


def _shares(blocks: Sequence[Tensor]) -> Tensor:
    """What the latents are made of.

    Args:
        blocks: of each block of the resampler the weights (b, 64, 64 + m) from the latents to the latents
            and to the m expert tokens.

    Returns:
        (b, 64, m), the share of each token; each row sums to one.
    """
    shares = torch.zeros_like(blocks[0][..., LATENTS:])
    for weights in blocks:
        to_latents, to_tokens = weights[..., :LATENTS], weights[..., LATENTS:]
        shares = (shares + to_latents @ shares + to_tokens) / 2
    return shares / shares.sum(dim=-1, keepdim=True)


def _token_log_probs(model: Prismer, ids: Sequence[Tensor], encoded: Tensor) -> Tensor:
    """The log-probability of each next token: float64 (b, l - 1) on the host, nonsense at pads."""
    padded = pad_sequence(list(ids), batch_first=True, padding_value=model.text_decoder.pad_id)  # (b, l)
    mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
    padded, mask = padded.to(encoded.device), mask.to(encoded.device)
    hidden = model.text_decoder.read(padded, mask, encoded)
    log_probs = model.text_decoder.lm_head(hidden[:, :-1]).float().log_softmax(dim=-1)
    return log_probs.gather(-1, padded[:, 1:, None])[..., 0].cpu().double()


def _left_out(inputs: Inputs, name: str) -> Inputs:
    return {other: label for other, label in inputs.items() if other != name}


def _words(model: Prismer, ids: Sequence[int]) -> tuple[tuple[str, ...], list[int]]:
    """The words that t token ids spell, and which of them each token belongs to."""
    owner, pieces = [], []
    for number, token in zip(ids, model.tokenizer.convert_ids_to_tokens(ids), strict=True):
        if token.startswith(SPACE) or not pieces:
            pieces.append([])
        pieces[-1].append(number)
        owner.append(len(pieces) - 1)
    return tuple(model.tokenizer.decode(word).strip() for word in pieces), owner


def _sum_by_word(owner: Sequence[int], words: int) -> Tensor:
    """float64 (w, t): one where a token belongs to a word."""
    belongs = torch.zeros(words, len(owner), dtype=torch.float64)
    belongs[owner, range(len(owner))] = 1
    return belongs


def _as_grid(mass: Tensor) -> Tensor:
    side = math.isqrt(mass.shape[-1])
    return mass.unflatten(-1, (side, side))  # (w, g * g) -> (w, g, g)
