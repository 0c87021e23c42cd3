"""The cached beam search equals a plain loop."""

import pytest
import torch

from common.errors import UserError
from model.beam_search import Prompt, beam_search
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.model import reference, tiny

QUESTIONS = ["what", "is the man riding a horse on the grass", "What color is the ball?"]


def strip(ids: torch.Tensor, pad: int = 1) -> list[int]:
    return [word for word in ids.tolist() if word != pad]


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(1, 1.0), (3, 1.0), (1, -1.0), (3, -1.0), (1, 4.0)])
@pytest.mark.parametrize("compat", [False, True])
def test_equals_the_plain_loop(num_beams, length_penalty, compat):
    lengths = set()
    for seed in range(2):
        model = tiny.build(PrismerVQA, seed, end=4.0, compat=compat)
        decoder, encoded = model.text_decoder, model.expert_encoder(tiny.images(3))
        prompt = model.prompt(QUESTIONS, encoded)
        assert prompt.mask.sum(dim=1).unique().numel() == 3
        found = beam_search(
            decoder,
            encoded,
            prompt,
            num_beams=num_beams,
            max_new=9,
            min_new=2,
            length_penalty=length_penalty,
        )
        for row in range(3):
            ids, mask = prompt.ids[row].tolist(), prompt.mask[row].tolist()
            if not compat:  # alone, without pads
                ids, mask = strip(prompt.ids[row]), [1] * sum(mask)
            text, score = reference.beam_search(
                decoder,
                encoded[row : row + 1],
                ids,
                mask,
                num_beams,
                len(ids) + 9,
                len(ids) + 2,
                length_penalty,
            )
            assert strip(found.ids[row]) == text
            assert found.scores[row].item() == pytest.approx(score, rel=1e-4)
            lengths.add(len(text))
    assert len(lengths) > 1  # some end early
    assert min(lengths) > 2


class Chain:
    """A decoder in which the next token depends on the last one alone, so that many texts take no time."""

    pad_id, eos_id, max_tokens, replay = 1, 2, 64, None

    def __init__(self, seed: int, tokens: int = 7) -> None:
        self.logits = torch.randn(tokens, tokens, generator=torch.Generator().manual_seed(seed))

    def new_cache(self) -> list:
        return []

    def positions(self, mask: torch.Tensor) -> torch.Tensor:
        return mask.cumsum(dim=1) + self.pad_id

    def __call__(self, ids: torch.Tensor, *_: object) -> torch.Tensor:
        return ids[..., None]

    read = __call__

    def lm_head(self, last: torch.Tensor) -> torch.Tensor:
        return self.logits[last[..., 0]]


@pytest.mark.parametrize("num_beams", [1, 2, 3])
@pytest.mark.parametrize(("min_new", "max_new"), [(0, 6), (2, 4), (3, 3)])
def test_equals_the_plain_loop_on_many_chains(num_beams, min_new, max_new):
    for seed in range(40):
        chain, penalty = Chain(seed), (-1.0, 0.0, 0.5, 1.0, 3.0)[seed % 5]
        starts = [[0, 3], [0, 4]]
        lengths = torch.tensor([2, 5])  # the penalty may count more tokens than the prompt has
        prompt = Prompt(torch.tensor(starts), torch.ones(2, 2, dtype=torch.int64), lengths)
        limits = {"num_beams": num_beams, "max_new": max_new, "min_new": min_new}
        found = beam_search(chain, torch.zeros(2), prompt, **limits, length_penalty=penalty)
        for row in range(2):
            pads = int(lengths[row]) - 2  # before the prompt, for the plain loop to count
            text, score = reference.beam_search(
                chain,
                torch.zeros(1),
                [1] * pads + starts[row],
                [0] * pads + [1, 1],
                num_beams,
                pads + 2 + max_new,
                pads + 2 + min_new,
                penalty,
            )
            assert found.ids[row, : len(text)].tolist() == text
            assert set(found.ids[row, len(text) :].tolist()) <= {chain.pad_id}
            assert found.scores[row].item() == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(("prompt", "room"), [(60, 4), (63, 1), (64, 0)])
def test_stops_where_positions_end(prompt, room):
    model = tiny.build(PrismerCaption, end=-50.0)
    start = Prompt(torch.full((1, prompt), 7), torch.ones(1, prompt).long(), torch.full((1,), prompt))
    encoded = model.expert_encoder(tiny.images(1))
    found = beam_search(model.text_decoder, encoded, start, num_beams=2, max_new=20, min_new=0, length_penalty=1.0)
    assert found.ids.shape == (1, room)


def test_too_many_beams_are_refused_before_memory_is_reserved():
    with pytest.raises(UserError, match="num_beams 1000000 is more than half of the 378 tokens; lower it"):
        tiny.build(PrismerCaption).generate(tiny.images(1), num_beams=1_000_000)


def test_image_keys_are_computed_once_and_not_copied_to_beams():
    model = tiny.build(PrismerCaption, end=-50.0)
    shapes = []
    layers = model.text_decoder.roberta["encoder"].layer
    for layer in layers:
        layer[1].self.key.register_forward_hook(lambda module, args, out: shapes.append(out.shape))
    model.generate(tiny.images(2), num_beams=5)
    assert shapes == [(2, 9, 32)] * len(layers)


def test_steps_after_the_end_change_nothing(monkeypatch):
    """On a GPU a search is asked every few steps whether it has ended."""
    model = tiny.build(PrismerCaption, end=4.0)
    expected = model.generate(tiny.images(3), max_length=12, min_length=3, return_scores=True)
    steps = []
    monkeypatch.setattr(torch.Tensor, "all", lambda self, *_: steps.append(1) or torch.tensor(False))
    found = model.generate(tiny.images(3), max_length=12, min_length=3, return_scores=True)
    assert found == expected
    assert len(steps) > 3
