"""Decoder, losses, beam search and ranking give the original's numbers."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from model.captioning import PrismerCaption
from model.decoder import loss_places
from model.prismer import Prismer
from model.tokenizer import load_tokenizer
from model.vqa import PrismerVQA
from tests.parity import goldens

PREFIX = "A picture of"
CAPTIONS = ["A picture of a red ball", "A picture of two cats and a dog on the grass"]

networks = pytest.mark.parametrize(("patch", "name"), goldens.NETWORKS)
prefixes = pytest.mark.parametrize(("prefix", "key"), [(PREFIX, "prefix"), ("", "noprefix")])


@cache
def model(cls: type[Prismer], patch: int, name: str) -> Prismer:
    tokenizer = load_tokenizer(goldens.FOLDER / "tokenizer")
    tokenizer.split_special_tokens = True  # the goldens' tokenizer reads '</s>' in a text as five letters
    return goldens.seed(cls(goldens.config(patch, name), tokenizer))


def caption_model(patch: int, name: str) -> PrismerCaption:
    return model(PrismerCaption, patch, name)


def vqa_model(patch: int, name: str) -> PrismerVQA:
    return model(PrismerVQA, patch, name)


def read_inputs(arrays) -> tuple[dict, Tensor]:
    return goldens.inputs(arrays), goldens.instance_indices(arrays)


@networks
@torch.no_grad()
def test_decoder(patch, name):
    arrays = goldens.golden(patch, name)
    ids, mask, targets, encoded = (
        torch.from_numpy(arrays[key]) for key in ("dec_ids", "dec_mask", "dec_labels", "encoder")
    )
    decoder = caption_model(patch, name).text_decoder
    real = mask.bool()
    logits = decoder.lm_head(decoder.read(ids, mask, encoded))
    goldens.assert_matches(logits[real], arrays["dec_logits"][real.numpy()])
    goldens.assert_matches(decoder.loss(ids, mask, loss_places(targets), encoded), arrays["dec_loss"])


@networks
@prefixes
@torch.no_grad()
def test_caption_loss(patch, name, prefix, key):
    arrays = goldens.golden(patch, name)
    inputs, indices = read_inputs(arrays)
    loss = caption_model(patch, name)(inputs, CAPTIONS, prefix, indices)
    goldens.assert_matches(loss, arrays[f"caption_loss_{key}"])


@networks
@prefixes
def test_captions(patch, name, prefix, key, monkeypatch):
    arrays = goldens.golden(patch, name)
    inputs, indices = read_inputs(arrays)
    captioner = caption_model(patch, name)
    decoded = spy_on_decoding(captioner, monkeypatch)
    captions = captioner.generate(inputs, prefix, instance_indices=indices)
    prompt = captioner.start_ids(prefix)
    assert [prompt + ids for ids in decoded()] == arrays[f"beam_ids_{key}"].tolist()
    assert captions == arrays[f"captions_{key}"].tolist()


@networks
def test_ranked_captions(patch, name):
    arrays = goldens.golden(patch, name)
    inputs, indices = read_inputs(arrays)
    answers = arrays["rank_answers"].tolist()
    captioner = caption_model(patch, name)
    tokens, _ = captioner.answer_tokens(answers)
    assert_ranking(lambda k: captioner.rank(inputs, answers, k, PREFIX, indices), tokens, arrays, "rank_caption")


@networks
@torch.no_grad()
def test_vqa_loss(patch, name):
    arrays = goldens.golden(patch, name, "vqa")
    inputs, indices = read_inputs(goldens.golden(patch, name))
    questions, answers = arrays["questions"].tolist(), arrays["answers"].tolist()
    loss = vqa_model(patch, name)(inputs, questions, answers, torch.from_numpy(arrays["weights"]), indices)
    goldens.assert_matches(loss, arrays["vqa_loss"])


@networks
def test_question_and_answer_tokens(patch, name):
    arrays = goldens.golden(patch, name, "vqa")
    answerer = vqa_model(patch, name)
    prompt = answerer.prompt(arrays["questions"].tolist(), torch.zeros(2, 1, 1))
    np.testing.assert_array_equal(prompt.ids, arrays["question_ids"])
    np.testing.assert_array_equal(prompt.mask, arrays["question_mask"])
    answers = arrays["rank_answers"].tolist()
    for texts, key in (answerer.ends(answers), "answer_ids"), (answers, "caption_answer_ids"):
        np.testing.assert_array_equal(answerer.answer_tokens(texts)[0], arrays[key])


@networks
def test_generated_answers(patch, name, monkeypatch):
    arrays = goldens.golden(patch, name, "vqa")
    inputs, indices = read_inputs(goldens.golden(patch, name))
    answerer = vqa_model(patch, name)
    decoded = spy_on_decoding(answerer, monkeypatch)
    answers = answerer.generate(inputs, arrays["questions"].tolist(), instance_indices=indices)
    expected = [ids[9:] for ids in arrays["vqa_beam_ids"].tolist()]  # after the questions
    assert decoded() == expected
    assert answers == arrays["vqa_generate"].tolist()


@networks
def test_ranked_answers(patch, name):
    arrays = goldens.golden(patch, name, "vqa")
    inputs, indices = read_inputs(goldens.golden(patch, name))
    questions, answers = arrays["questions"].tolist(), arrays["rank_answers"].tolist()
    answerer = vqa_model(patch, name)
    tokens, _ = answerer.answer_tokens(answerer.ends(answers))
    assert_ranking(
        lambda k: answerer.rank(inputs, questions, answers, k, instance_indices=indices),
        tokens,
        arrays,
        "vqa_rank",
    )


def spy_on_decoding(model: Prismer, monkeypatch):
    """The token ids that the model gives its tokenizer to decode, once it has."""
    seen = []
    batch_decode = model.tokenizer.batch_decode
    monkeypatch.setattr(
        model.tokenizer,
        "batch_decode",
        lambda ids, **kw: seen.append(ids.tolist()) or batch_decode(ids, **kw),
    )
    return lambda: seen[0]


def assert_ranking(rank, tokens, arrays, key):
    """Of answers with one first token the original keeps any, and we the first in the list: all are scored.

    Args:
        rank: takes the number of answers to keep.
        tokens: (a, t), of the answers.
        arrays: the original's results, five answers of each sample.
        key: of the arrays.
    """
    first, kept = tokens[:, 0], torch.from_numpy(arrays[f"{key}_topk"])
    assert torch.equal(first[rank(5).kept], first[kept])
    every = rank(len(tokens))
    scores = torch.zeros_like(every.scores).scatter(1, every.kept, every.scores).gather(1, kept)
    goldens.assert_matches(scores, arrays[f"{key}_scores"])
    best = kept.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
    np.testing.assert_array_equal(best, arrays[f"{key}_ids"])
