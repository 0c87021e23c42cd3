"""The baseline gives the same numbers as ours, padded batches included."""

from unittest.mock import patch

import pytest
import torch

from benchmarks import baseline
from benchmarks.networks import network, random_inputs, texts
from model import beam_search
from model.answer_ranking import rank
from model.beam_search import Prompt
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.model import tiny

CAPTIONS = ["A picture of a dog", "A picture of two cats on the grass"]
PREFIX = "A picture of"


@pytest.fixture(scope="module")
def model() -> PrismerCaption:
    return network(PrismerCaption, tiny=True)


def test_encoder(model):
    images = random_inputs(model.config, 2)
    with torch.no_grad():
        torch.testing.assert_close(baseline.encode(model.expert_encoder, images), model.expert_encoder(images))


def test_training_loss_and_gradients(model):
    images = random_inputs(model.config, 2)
    gradients = []
    for loss in (model(images, CAPTIONS, PREFIX), baseline.caption_loss(model, images, CAPTIONS, PREFIX)):
        loss.backward()
        gradients.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
        model.zero_grad()
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_ranking():
    model = tiny.build(PrismerVQA)
    encoded = model.expert_encoder(tiny.images(3))
    answers, mask = texts(model.config, 40, 1, 4, end=True)
    ids, real = texts(model.config, 3, 2, 6, end=False)
    assert len(set(real.sum(dim=1).tolist())) > 1
    prompt = Prompt(ids, real, real.sum(dim=1))
    ours, expected = (way(model.text_decoder, encoded, prompt, answers, mask, 7) for way in (rank, baseline.rank))
    assert torch.equal(ours.kept, expected.kept)
    torch.testing.assert_close(ours.scores, expected.scores, rtol=1e-4, atol=1e-4)


def test_beam_search():
    model = tiny.build(PrismerCaption, end=4.0)
    images = tiny.images(4)
    captions, scores = model.generate(images, PREFIX, return_scores=True)
    assert len(set(captions)) > 1
    with patch.object(beam_search, "Beams", baseline.Beams):
        expected, expected_scores = model.generate(images, PREFIX, return_scores=True)
    assert captions == expected
    assert scores == pytest.approx(expected_scores, rel=1e-4)
