"""Beam search over the cached decoder.

transformers' `generate` cannot reproduce the original's scores. The original divides by the length of the
whole text, the question included, which differs from sample to sample; with VQA's length penalty of -1 this
decides how short answers are. `generate` counts new tokens alone. It also copies the prompt's keys to every
beam, and reorders all keys at every step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from model.decoder import TextDecoder

STEPS_BETWEEN_LOOKS = 4  # at a GPU's answer to whether the search is over


@dataclass(frozen=True)
class Prompt:
    """The tokens that texts start with.

    Attributes:
        ids: int64 (b, p), padded with the pad token.
        mask: int64 (b, p), 1 for real tokens, 0 for pads.
        lengths: int64 (b,), the tokens of each that the length penalty counts.
    """

    ids: Tensor
    mask: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Generated:
    """The result of a beam search.

    Attributes:
        ids: int64 (b, n), the best continuation of each prompt, padded with the pad token.
        scores: float32 (b,), log-probability / length ** length_penalty.
    """

    ids: Tensor
    scores: Tensor


class Beams:
    """The unfinished texts of a batch, and the decoder's cache of them.

    All beams of a sample form one sequence: a step appends one token for each beam, and `visible` marks the
    tokens of each beam.
    """

    def __init__(self, decoder: TextDecoder, encoded: Tensor, prompt: Prompt) -> None:
        self.decoder, self.encoded = decoder, encoded
        self.cache = decoder.new_cache()
        hidden = decoder.read(prompt.ids, prompt.mask, encoded, self.cache)
        self.logits = decoder.lm_head(hidden[:, -1:])  # of the next token, (b, beams, vocabulary); one beam yet
        self.visible = prompt.mask.bool()[:, None]  # (b, beams, tokens so far)
        self.next_position = decoder.positions(prompt.mask).amax(dim=1, keepdim=True) + 1  # (b, 1)

    def reserve(self, beams: int, steps: int) -> None:
        """Reserves room for `steps` steps of `beams` beams, so that no step changes the shape of a tensor."""
        length = self.visible.shape[2]
        room = length + beams * steps
        room += -room % 8
        self._at = length + torch.arange(beams, device=self.visible.device)
        for layer in self.cache:
            layer.reserve(room, self._at)
        self.visible = F.pad(self.visible, (0, room - length)).repeat(1, beams, 1)

    def tensors(self) -> list[Tensor]:
        """The tensors that `step` reads and changes, weights excluded."""
        kept = [x for layer in self.cache for x in layer.tensors()]
        return [self.visible, self.next_position, self._at, *kept]

    def step(self, parents: Tensor, ids: Tensor) -> Tensor:
        """As `advance`, in place; returns the logits (b, beams, vocabulary)."""
        self.visible.copy_(gather_beams(self.visible, parents))
        places = torch.arange(self.visible.shape[2], device=ids.device)
        self.visible |= places == self._at[:, None]  # (beams, m): each beam sees its own new token
        positions = self.next_position.expand(-1, ids.shape[1])
        hidden = self.decoder(ids, positions, self.visible, self.encoded, self.cache)
        self.next_position += 1
        self._at += ids.shape[1]
        return self.decoder.lm_head(hidden)

    def advance(self, parents: Tensor, ids: Tensor) -> None:
        """Continues the beams `parents` (b, beams) by one token each, `ids` (b, beams)."""
        self.logits = self.step(parents, ids)


def gather_beams(x: Tensor, beams: Tensor) -> Tensor:
    """Picks beams: (b, n, ...) by int64 (b, m) -> (b, m, ...)."""
    index = beams.view(*beams.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def check_beams(num_beams: int, vocabulary: int) -> None:
    """Refuses more beams than the vocabulary has tokens for (`UserError`)."""
    if 2 * num_beams > vocabulary:
        raise UserError(f"num_beams {num_beams} is more than half of the {vocabulary} tokens; lower it")


@torch.no_grad()
def beam_search(
    decoder: TextDecoder,
    encoded: Tensor,
    prompt: Prompt,
    *,
    num_beams: int,
    max_new: int,
    min_new: int,
    length_penalty: float,
) -> Generated:
    """Continues each prompt by the best text that a beam search finds.

    A hypothesis ends with the end token or at the maximum length. Its score is its log-probability, end
    token included, divided by its number of tokens, end token excluded, to the power of `length_penalty`. A
    sample is done when it has `num_beams` hypotheses, and its best continuation, if it ended now, would not
    beat the worst of them.

    Args:
        decoder: the decoder, in evaluation mode.
        encoded: (b / q, n, vision width), the encoder's tokens of each image; its q prompts are adjacent.
        prompt: the start of each text.
        num_beams: beams of each sample.
        max_new: the most tokens to add, the end token included; fewer if the positions run out.
        min_new: the fewest tokens to add, the end token excluded.
        length_penalty: above 0 prefers long texts, below 0 short ones.
    """
    max_new = min(max_new, decoder.max_tokens - prompt.ids.shape[1])
    beams = Beams(decoder, encoded, prompt)
    check_beams(num_beams, vocabulary=beams.logits.shape[-1])
    beams.reserve(num_beams, max(max_new - 1, 0))
    if decoder.replay is not None:
        beams = decoder.replay(beams, num_beams)
    batch, device = len(prompt.ids), prompt.ids.device
    lengths = prompt.lengths[:, None].float()
    scores = torch.zeros(batch, 1, device=device)
    tokens = torch.full((batch, 1, max_new), decoder.pad_id, device=device)
    best = torch.full((batch, num_beams), -torch.inf, device=device)  # the hypotheses' scores
    best_tokens = tokens.repeat(1, num_beams, 1)
    done = torch.zeros(batch, 1, dtype=torch.bool, device=device)

    for step in range(max_new):
        log_probs = beams.logits.float().log_softmax(dim=-1)  # (b, beams, vocabulary)
        if step < min_new:
            log_probs[..., decoder.eos_id] = -torch.inf
        # Of each beam, one continuation ends at most: twice as many candidates leave enough that go on.
        totals, flat = (scores[..., None] + log_probs).flatten(1).topk(2 * num_beams)
        parents, ids = flat // log_probs.shape[-1], flat % log_probs.shape[-1]
        tokens = gather_beams(tokens, parents)
        tokens[..., step] = ids
        ends = ids == decoder.eos_id

        # Hypotheses: those among the best `num_beams` that end here.
        norm = (lengths + step) ** length_penalty
        closed = (totals / norm)[:, :num_beams].masked_fill(~ends[:, :num_beams] | done, -torch.inf)
        best, best_tokens = keep_best(best, best_tokens, closed, tokens[:, :num_beams])
        done = done | (best[:, -1:] >= totals[:, :1] / norm)
        # Further steps change nothing. Reading this from a GPU waits for it, so it is read now and then.
        if (step + 1) % (1 if device.type == "cpu" else STEPS_BETWEEN_LOOKS) == 0 and done.all():
            break

        # Running beams: the best that go on.
        running = ends.int().argsort(dim=1, stable=True)[:, :num_beams]
        scores, tokens = totals.gather(1, running), gather_beams(tokens, running)
        if step + 1 < max_new:
            beams.advance(parents.gather(1, running), ids.gather(1, running))

    norm = (lengths + max_new) ** length_penalty
    best, best_tokens = keep_best(best, best_tokens, (scores / norm).masked_fill(done, -torch.inf), tokens)
    return Generated(best_tokens[:, 0], best[:, 0])


def keep_best(scores: Tensor, tokens: Tensor, new_scores: Tensor, new_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The best n of n old and m new hypotheses, best first: scores (b, n), (b, m), tokens (b, n, l), (b, m, l)."""
    kept_scores, kept = torch.cat([scores, new_scores], dim=1).topk(scores.shape[1])
    return kept_scores, gather_beams(torch.cat([tokens, new_tokens], dim=1), kept)
