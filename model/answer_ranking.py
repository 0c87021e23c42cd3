"""Choosing among given answers: the likeliest first tokens, then the best whole texts."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model.beam_search import Beams, Prompt
from model.decoder import LABEL_SMOOTHING, TextDecoder

CANDIDATES_AT_ONCE = 64  # of each sample; attention is quadratic in their number
TOKENS_AT_ONCE = 1024  # through the LM head, which makes a row of logits for each


class Ranking(NamedTuple):
    """The k best answers of each sample; ties go to the answer that comes first in the list.

    Attributes:
        best: int64 (b,), the index of the best answer.
        scores: float32 (b, k), the mean (label-smoothed) log-probability of each kept answer's tokens.
        kept: int64 (b, k), the indices of the kept answers, likeliest first token first.
    """

    best: Tensor
    scores: Tensor
    kept: Tensor

    def sorted(self) -> list[list[tuple[int, float]]]:
        """The kept answers of each sample with their scores, best first."""
        rows = zip(self.kept.tolist(), self.scores.tolist(), strict=True)
        return [sorted(zip(*row, strict=True), key=lambda pair: (-pair[1], pair[0])) for row in rows]


@torch.no_grad()
def rank(decoder: TextDecoder, encoded: Tensor, prompt: Prompt, answers: Tensor, mask: Tensor, k: int) -> Ranking:
    """Ranks answers as continuations of each prompt.

    Args:
        decoder: the decoder, in evaluation mode.
        encoded: (b / q, n, vision width), the encoder's tokens of each image; its q prompts are adjacent.
        prompt: the start of each text.
        answers: int64 (a, t), the tokens of each answer, right-padded.
        mask: int64 (a, t), 1 for real tokens, 0 for pads.
        k: the most answers to score.
    """
    start = Beams(decoder, encoded, prompt)
    logits = start.logits[:, 0].float()  # (b, vocabulary)
    log_probs = logits[:, answers[:, 0]] - logits.logsumexp(dim=-1, keepdim=True)  # (b, a)
    # Answers often share their first token; `topk` would choose among them differently on each device.
    kept = log_probs.sort(dim=1, descending=True, stable=True).indices[:, :k]  # (b, k)
    lengths = mask.sum(dim=1)[kept]  # (b, k)
    ids = answers[kept][..., : int(lengths.max())]  # (b, k, t)

    losses = smoothed_loss(logits, ids[..., 0])
    chunks = zip(ids.split(CANDIDATES_AT_ONCE, 1), lengths.split(CANDIDATES_AT_ONCE, 1), strict=True)
    if ids.shape[2] > 1:
        losses = losses + torch.cat([continuation_losses(start, *chunk) for chunk in chunks], dim=1)
    # Rounding may have given equal answers different scores; they get the best of these.
    scores, texts = -losses / lengths, answers.unique(dim=0, return_inverse=True)[1][kept]  # both (b, k)
    by_text = scores.new_full((len(scores), int(texts.max()) + 1), -torch.inf)
    scores = by_text.scatter_reduce(1, texts, scores, "amax").gather(1, texts)
    best = kept.masked_fill(scores < scores.amax(dim=1, keepdim=True), len(answers)).amin(dim=1)
    return Ranking(best, scores, kept)


def continuation_losses(start: Beams, ids: Tensor, lengths: Tensor) -> Tensor:
    """The summed losses of the candidates' tokens, the first ones excluded.

    Args:
        start: the prompts' state, which is left unchanged.
        ids: int64 (b, k, t), the candidates' tokens.
        lengths: int64 (b, k), the number of real tokens.

    Returns:
        float32 (b, k).
    """
    steps = ids.shape[2] - 1
    followed = torch.arange(1, steps + 1, device=ids.device) < lengths[..., None]  # (b, k, steps)
    # The candidates of a sample form one sequence of n tokens, without their pads: most answers are short.
    # Samples with fewer tokens are padded at the end; the padding is ignored.
    count = followed.sum(dim=(1, 2))  # (b,)
    place = followed.flatten(1).byte().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    inputs, targets = (x.flatten(1).gather(1, place) for x in (ids[..., :-1], ids[..., 1:]))  # (b, n)
    candidate = place // steps
    # Each token sees the prompt and its own candidate: (b, n, p + n).
    own = (candidate[:, :, None] == candidate[:, None, :]).tril()
    visible = torch.cat([start.visible.expand(-1, own.shape[1], -1), own], dim=2)
    positions = start.next_position + place % steps
    hidden = start.decoder(inputs, positions, visible, start.encoded, start.cache)
    for layer in start.cache:
        layer.crop(start.visible.shape[2])

    real = torch.arange(place.shape[1], device=ids.device) < count[:, None]  # (b, n)
    rows = zip(hidden[real].split(TOKENS_AT_ONCE), targets[real].split(TOKENS_AT_ONCE), strict=True)
    losses = [smoothed_loss(start.decoder.lm_head(row).float(), target[:, None]) for row, target in rows]
    losses = torch.zeros(real.shape, device=ids.device).masked_scatter(real, torch.cat(losses))
    return torch.zeros(lengths.shape, device=ids.device).scatter_add(1, candidate, losses)


def smoothed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Label-smoothed cross entropy of logits (n, vocabulary) with m targets each, (n, m): float32 (n, m)."""
    log_probs = F.log_softmax(logits, dim=-1)
    uniform = log_probs.mean(dim=-1, keepdim=True)
    return -(1 - LABEL_SMOOTHING) * log_probs.gather(1, targets) - LABEL_SMOOTHING * uniform
