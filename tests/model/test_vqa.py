"""Question answering beyond the original's numbers."""

import pytest
import torch

from model.prismer import CutTexts
from model.vqa import PrismerVQA
from tests.model import tiny

QUESTIONS = ["what", "is the man riding a horse on the grass", "What color is the ball?"]


def test_a_mixed_batch_gives_what_each_question_gets_alone():
    model = tiny.build(PrismerVQA, end=4.0)
    images = tiny.images(3)
    answers, scores = model.generate(images, QUESTIONS, return_scores=True)
    for row, question in enumerate(QUESTIONS):
        alone = model.generate({"rgb": images["rgb"][row : row + 1]}, [question], return_scores=True)
        assert alone[0] == [answers[row]]
        assert alone[1][0] == pytest.approx(scores[row], rel=1e-4)


@pytest.mark.parametrize("counts", [[1, 3, 1], [2, 2]])
def test_an_image_is_encoded_once_for_all_its_questions(counts, monkeypatch):
    model = tiny.build(PrismerVQA, end=4.0)
    monkeypatch.setattr("model.vqa.QUESTIONS_AT_ONCE", 3)
    images = tiny.images(len(counts))
    repeated = {"rgb": images["rgb"].repeat_interleave(torch.tensor(counts), dim=0)}
    questions = [f"{question} {number}" for number, question in enumerate((QUESTIONS * 2)[: sum(counts)])]
    encoded = []
    model.expert_encoder.register_forward_hook(lambda _, __, out: encoded.append(len(out)))
    answers = model.generate(images, questions, counts=counts)
    ranking = model.rank(images, questions, ["yes", "no", "a red ball"], 2, counts=counts)
    assert encoded == [len(counts)] * 2
    assert answers == model.generate(repeated, questions)
    apart = model.rank(repeated, questions, ["yes", "no", "a red ball"], 2)
    assert torch.equal(ranking.kept, apart.kept)
    torch.testing.assert_close(ranking.scores, apart.scores)


def test_texts_that_do_not_divide_need_counts():
    model = tiny.build(PrismerVQA)
    with pytest.raises(ValueError, match="3 texts for 2 images"):
        model.rank(tiny.images(2), QUESTIONS, ["yes"], 1)


@pytest.mark.parametrize("compat", [False, True])
def test_training_pads_where_use_does(compat):
    """An answer follows its question; with `compat` a short question's pads come between, as in the original."""
    model = tiny.build(PrismerVQA, compat=compat)
    seen = []
    loss = model.text_decoder.loss
    model.text_decoder.loss = lambda ids, mask, *rest: seen.append((ids, mask)) or loss(ids, mask, *rest)
    model(tiny.images(2), QUESTIONS[:2], ["no", "yes"], torch.ones(2))
    ids, mask = seen[0]
    short, answer = model.tokenizer(["<s>What", " No</s>"], add_special_tokens=False).input_ids
    assert ids[0][mask[0].bool()].tolist() == short + answer
    pads = mask[0].argmin().item()
    assert pads == (len(short) if compat else 0)
    prompt = model.prompt(QUESTIONS[:2], torch.zeros(1, 1, 1))
    assert torch.equal(ids[:, : prompt.ids.shape[1]], prompt.ids)


def test_the_loss_of_a_mixed_batch_is_what_each_question_has_alone():
    model = tiny.build(PrismerVQA)
    images, answers, weights = tiny.images(3), ["no", "yes", "red"], torch.ones(3)
    alone = [
        model({"rgb": images["rgb"][row : row + 1]}, [question], [answer], torch.ones(1))
        for row, (question, answer) in enumerate(zip(QUESTIONS, answers, strict=True))
    ]
    torch.testing.assert_close(model(images, QUESTIONS, answers, weights), torch.stack(alone).mean())


@pytest.mark.parametrize(
    ("compat", "settings", "fewest"),
    [(False, {}, 1), (True, {}, 2), (True, {"min_new": 1}, 1), (False, {"min_new": 4}, 4)],
)
def test_an_answer_has_one_token_at_least_and_two_with_compat(compat, settings, fewest):
    model = tiny.build(PrismerVQA, end=40.0, compat=compat)  # it ends as soon as it may
    ids = []
    decode = model.tokenizer.batch_decode
    model.tokenizer.batch_decode = lambda found, **flags: ids.append(found) or decode(found, **flags)
    model.generate(tiny.images(3), QUESTIONS, **settings)
    assert (ids[0] == model.text_decoder.eos_id).int().argmax(dim=1).tolist() == [fewest] * 3


def test_answers_are_written_small_and_without_spaces_around():
    model = tiny.build(PrismerVQA)
    model.tokenizer.batch_decode = lambda ids, **_: [" Red Cat "] * len(ids)
    assert model.generate(tiny.images(2), QUESTIONS[:2]) == ["red cat"] * 2


def test_long_questions_are_cut():
    model = tiny.build(PrismerVQA)
    prompt = model.prompt(["is the man " * 30], torch.zeros(1, 1, 1))
    assert prompt.ids.shape == (1, 35)
    assert prompt.ids[0, 0] == 0
    assert model.question_ids("is the man " * 30) == prompt.ids[0].tolist()
    assert model.cut_texts == CutTexts(35, 1, 1)
