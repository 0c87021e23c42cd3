"""The sources of a text: attention on each modality, and the effect of each expert.

**Mass.** A token of the text is written from the decoder's row before it. In that row the cross-attention,
averaged over layers and heads, spreads a weight of one over the encoder's sequence: RGB tokens and latents.
The weight of a latent is passed on to the expert tokens it was made of, by attention rollout
(https://arxiv.org/abs/2005.00928) through the resampler. Let A be the weights of a block, averaged over
heads, from the latents to the latents and to the tokens. The shares S (latents, tokens) become

    S <- (S + A_latents S + A_tokens) / 2,        S = 0 before the first block,

where the two halves are the residual branch and the attention. After the last block each row is divided by
its sum: the remainder belongs to the learned latents, which are the same for every image. The mass of a word
on a modality is the sum over that modality's tokens, averaged over the word's tokens. Over all modalities it
sums to one.

Mass describes attention, not causes. The model may ignore values it attends to, and the vision transformer
mixes RGB tokens and latents before the decoder reads them: information at a token's place may come from
elsewhere.

**Effect.** Causes are measured: an expert's tokens are left out, and the log-probability of the text is
computed again. The effect of the expert on a word is the rise of the word's log-probability with the expert,
in nats. Experts overlap, so effects do not add up: if two say the same, the model misses neither.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import get_ident

import torch
from einops import rearrange
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
    """The sources of the w words of a text; all tensors are float32 on the host.

    Attributes:
        words: whole words, joined from their tokens.
        log_probs: (w,), of each word, given the words before it; without the end of the text.
        tokens: for the image (`rgb`) and each expert (w, g, g), the mass of each word on each token, on the
            image's grid; over all modalities it sums to one for each word.
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
        """For each expert (w,): the rise of each word's log-probability with it, in nats."""
        return {name: self.log_probs - log_probs for name, log_probs in self.without.items()}


@torch.no_grad()
def find_attribution(
    model: Prismer,
    inputs: Inputs,
    starts: Sequence[Sequence[int]],
    texts: Sequence[str],
    instance_indices: Tensor | None = None,
) -> list[Attribution]:
    """Finds the sources of finished texts by reading them again.

    Encoder and decoder run once, and once more for each expert. Generation itself is not slowed down.

    Args:
        model: in evaluation mode.
        inputs: the input of `ExpertEncoder`, b images; experts without a label are left out.
        starts: b lists of token ids, the prompts of the texts, start token included.
        texts: b continuations of the prompts, with the space before their first word.
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
    without = {}
    for name in names:
        others = {other: label for other, label in inputs.items() if other != name}
        without[name] = _token_log_probs(model, ids, model.expert_encoder(others, instance_indices))

    found = []
    for sample, (start, end) in enumerate(zip(starts, ends, strict=True)):
        rows = slice(len(start) - 1, len(start) - 1 + len(end))
        words, sums = _words(model, end)
        means = sums / sums.sum(dim=1, keepdim=True)
        by_token = (means @ mass[sample, rows]).float()  # (w, rgb tokens + expert tokens)
        image, rest = by_token.split([to_rgb.shape[-1], mass.shape[-1] - to_rgb.shape[-1]], dim=-1)
        # Of the image and of each expert: (w, g * g).
        parts = [image, *(rest.chunk(len(names), dim=-1) if names else ())]  # all experts have as many tokens
        found.append(
            Attribution(
                words=words,
                log_probs=(sums @ log_probs[sample, rows]).float(),
                tokens={
                    name: rearrange(part, "w (y x) -> w y x", y=math.isqrt(part.shape[-1]))
                    for name, part in zip([RGB, *names], parts, strict=True)
                },
                latents=(means @ to_latents[sample, rows]).float(),
                without={name: (sums @ other[sample, rows]).float() for name, other in without.items()},
            )
        )
    return found


@contextmanager
def _recorded(attentions: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Records the weights of attentions that this thread runs: float64 (b, l, m), averaged over heads."""
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
    """The shares of the m expert tokens in the latents, (b, 64, m); each row sums to one.

    Args:
        blocks: the weights (b, 64, 64 + m) of each resampler block, from the latents to latents and tokens.
    """
    shares = torch.zeros_like(blocks[0][..., LATENTS:])
    for weights in blocks:
        to_latents, to_tokens = weights[..., :LATENTS], weights[..., LATENTS:]
        shares = (shares + to_latents @ shares + to_tokens) / 2
    return shares / shares.sum(dim=-1, keepdim=True)


def _token_log_probs(model: Prismer, ids: Sequence[Tensor], encoded: Tensor) -> Tensor:
    """The log-probability of each next token: float64 (b, l - 1) on the host; pads are meaningless."""
    padded = pad_sequence(list(ids), batch_first=True, padding_value=model.text_decoder.pad_id)  # (b, l)
    mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
    padded, mask = padded.to(encoded.device), mask.to(encoded.device)
    hidden = model.text_decoder.read(padded, mask, encoded)
    log_probs = model.text_decoder.lm_head(hidden[:, :-1]).float().log_softmax(dim=-1)
    return log_probs.gather(-1, padded[:, 1:, None])[..., 0].cpu().double()


def _words(model: Prismer, ids: Sequence[int]) -> tuple[tuple[str, ...], Tensor]:
    """The w words that t token ids spell, and float64 (w, t): 1 where a token belongs to a word."""
    owner, pieces = [], []
    for number, token in zip(ids, model.tokenizer.convert_ids_to_tokens(ids), strict=True):
        if token.startswith(SPACE) or not pieces:
            pieces.append([])
        pieces[-1].append(number)
        owner.append(len(pieces) - 1)
    belongs = torch.zeros(len(pieces), len(ids), dtype=torch.float64)
    belongs[owner, range(len(ids))] = 1
    return tuple(model.tokenizer.decode(word).strip() for word in pieces), belongs
