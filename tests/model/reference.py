"""Beam search and ranking as plain loops: no caches, one image and one text at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.decoder import TextDecoder


def next_log_probs(decoder: TextDecoder, ids: list[int], mask: list[int], encoded: Tensor) -> Tensor:
    """Log-probabilities of the token that follows a text, (vocabulary,); `encoded` is (1, n, d)."""
    hidden = decoder.read(torch.tensor([ids]), torch.tensor([mask]), encoded)
    return decoder.lm_head(hidden[0, -1]).log_softmax(dim=-1)


@torch.no_grad()
def beam_search(
    decoder: TextDecoder,
    encoded: Tensor,
    prompt: list[int],
    mask: list[int],
    num_beams: int,
    max_length: int,
    min_length: int,
    length_penalty: float,
) -> tuple[list[int], float]:
    """The best continuation of one prompt, with the end token if it ends, and its score."""
    beams = [(0.0, prompt)]
    ended: list[tuple[float, list[int]]] = []

    def end(total: float, text: list[int], length: int) -> None:
        ended.append((total / length**length_penalty, text))
        ended.sort(key=lambda hypothesis: -hypothesis[0])
        del ended[num_beams:]

    done = False
    while not done and len(beams[0][1]) < max_length:
        length = len(beams[0][1])
        candidates = []
        for total, text in beams:
            log_probs = next_log_probs(decoder, text, mask + [1] * (length - len(mask)), encoded)
            if length < min_length:
                log_probs[decoder.eos_id] = -torch.inf
            candidates += [(total + value, [*text, word]) for word, value in enumerate(log_probs.tolist())]
        candidates = sorted(candidates, key=lambda candidate: -candidate[0])[: 2 * num_beams]
        beams = []
        for rank, (total, text) in enumerate(candidates):
            if text[-1] != decoder.eos_id:
                beams.append((total, text))
            elif rank < num_beams:
                end(total, text, length)
        beams = beams[:num_beams]
        done = len(ended) == num_beams and ended[-1][0] >= candidates[0][0] / length**length_penalty
    if not done:
        for total, text in beams:
            end(total, text, len(text))
    score, text = ended[0]
    return text[len(prompt) :], score


@torch.no_grad()
def rank(
    decoder: TextDecoder,
    encoded: Tensor,
    prompt: list[int],
    mask: list[int],
    answers: list[list[int]],
    k: int,
) -> tuple[list[int], list[float]]:
    """The kept answers of one prompt, likeliest first token first, and their scores."""
    log_probs = next_log_probs(decoder, prompt, mask, encoded)
    kept = sorted(range(len(answers)), key=lambda i: -log_probs[answers[i][0]].item())[:k]
    scores = []
    for i in kept:
        ids, real = prompt + answers[i], mask + [1] * len(answers[i])
        hidden = decoder.read(torch.tensor([ids]), torch.tensor([real]), encoded)
        logits = decoder.lm_head(hidden[0, len(prompt) - 1 : -1])
        scores.append(-F.cross_entropy(logits, torch.tensor(answers[i]), label_smoothing=0.1).item())
    return kept, scores
