"""The cached ranking gives the scores of a plain loop."""

import pytest
import torch

from common.errors import UserError
from model import answer_ranking
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.model import reference, tiny

QUESTIONS = ["what", "is the man riding a horse on the grass", "What color is the ball?"]
ANSWERS = ["red", "two cats", "a dog", "green", "white and black", "no", "a very long answer of many words"]


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("at_once", [2, 64])
def test_equals_the_plain_loop(compat, at_once, monkeypatch):
    monkeypatch.setattr(answer_ranking, "CANDIDATES_AT_ONCE", at_once)
    monkeypatch.setattr(answer_ranking, "TOKENS_AT_ONCE", 3)
    model = tiny.build(PrismerVQA, seed=1, compat=compat)
    images = tiny.images(3)
    result = model.rank(images, QUESTIONS, ANSWERS, 5)

    encoded = model.expert_encoder(images)
    prompt = model.prompt(QUESTIONS, encoded)
    answers = [model.tokenizer(f" {a.capitalize()}</s>", add_special_tokens=False).input_ids for a in ANSWERS]
    for row in range(3):
        ids, mask = prompt.ids[row].tolist(), prompt.mask[row].tolist()
        if not compat:  # alone, without pads
            ids, mask = [word for word in ids if word != 1], [1] * sum(mask)
        kept, scores = reference.rank(model.text_decoder, encoded[row : row + 1], ids, mask, answers, 5)
        # of answers with the same first token the reference keeps others
        expected, actual = dict(zip(kept, scores, strict=True)), result.kept[row].tolist()
        first = [answers[i][0] for i in actual]
        assert first == [answers[i][0] for i in kept]
        common = [i for i in actual if i in expected]
        assert len(common) >= 3
        got = dict(zip(actual, result.scores[row].tolist(), strict=True))
        assert [got[i] for i in common] == pytest.approx([expected[i] for i in common], rel=1e-4)
        assert result.best[row] == actual[result.scores[row].argmax()]


def test_new_answers_replace_those_kept_from_the_last_call():
    model = tiny.build(PrismerCaption)
    images = tiny.images(1)
    model.rank(images, ANSWERS, 2)
    fresh = tiny.build(PrismerCaption).rank(images, ["stop", "go"], 2)
    torch.testing.assert_close(model.rank(images, ["stop", "go"], 2).scores, fresh.scores)


def test_answer_too_long_for_the_positions():
    with pytest.raises(UserError, match=r"answer 'word word .* more than 29 tokens"):
        tiny.build(PrismerCaption).rank(tiny.images(1), ["red", "word " * 30], 2)


@pytest.mark.parametrize("questions", [QUESTIONS[:1], QUESTIONS])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_of_equal_answers_the_first_in_the_list_comes_first(questions, k):
    model = tiny.build(PrismerVQA)
    equal = model.rank(tiny.images(len(questions)), questions, ["a dog"] * 4 + ["red"], k)
    for row in equal.sorted():
        dogs = [index for index, _ in row if index < 4]
        assert dogs == list(range(len(dogs)))
    with torch.no_grad():  # every token is as likely as any other
        for parameter in model.text_decoder.lm_head.parameters():
            parameter.zero_()
    one_word = ["red", "no", "cat", "dog", "yes"]
    flat = model.rank(tiny.images(len(questions)), questions, one_word, k)
    assert flat.kept.tolist() == [list(range(k))] * len(questions)
    assert flat.best.tolist() == [0] * len(questions)
