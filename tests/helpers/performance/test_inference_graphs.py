"""Inference with replayed graphs gives the same results, with a recorder in place of CUDA's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.networks import random_inputs
from helpers.performance import inference_graphs
from helpers.performance.bf16_blocks import lower_blocks
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.benchmarks.nano_network import network
from tests.model import tiny

QUESTIONS = ["what", "is the man riding a horse on the grass", "What color is the ball?"]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The log of a recorder. As with CUDA, replays work on the tensors of the recording."""
    told: list[str] = []

    def record(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        work()
        result = work()
        told.append("recorded")
        return lambda: (told.append("replayed"), result.copy_(work())), result

    monkeypatch.setattr(inference_graphs, "record", record)
    return told


@pytest.mark.parametrize("cls", [PrismerCaption, PrismerVQA])
def test_texts_are_the_same(recorded, cls):
    model = tiny.build(cls, end=4.0)

    def ask(seed: int) -> tuple[list[str], list[float]]:
        images = tiny.images(3, seed)
        return model.generate(*((images,) if cls is PrismerCaption else (images, QUESTIONS)), return_scores=True)

    expected = [ask(seed) for seed in range(4)]
    assert len({text for texts, _ in expected for text in texts}) > 4
    inference_graphs.replay_inference(model)
    for seed, (texts, scores) in enumerate(expected):
        found, found_scores = ask(seed)
        assert found == texts
        assert found_scores == pytest.approx(scores, rel=1e-5)
    assert recorded.count("recorded") == 2  # the encoder, and the step
    assert recorded.count("replayed") > 6


def test_the_encoder_sees_each_batch_and_the_weights_of_now(recorded):
    model = network("none").eval()
    lower_blocks(model)
    batches = [random_inputs(model.config, count) for count in (2, 3)]
    batches.append({name: x for name, x in batches[0].items() if name != "depth"})
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = [model.expert_encoder(batch) for batch in batches]
        inference_graphs.replay_inference(model)
        for _ in range(3):
            for batch, wanted in zip(batches, expected, strict=True):
                assert torch.equal(model.expert_encoder(batch), wanted)
        assert recorded.count("recorded") == 3
        model.expert_encoder.ln_post.weight *= 2
        for _ in range(2):
            assert not torch.equal(model.expert_encoder(batches[0]), expected[0])
    assert recorded.count("recorded") == 4


def test_training_and_large_batches_do_without(recorded, monkeypatch):
    model = network("none")
    inference_graphs.replay_inference(model)
    monkeypatch.setattr(inference_graphs, "TIMES", 1)
    model(random_inputs(model.config, 2), ["A picture of a cube"] * 2, "A picture of").backward()
    with torch.no_grad():
        model.eval().generate(random_inputs(model.config, inference_graphs.MOST_BEAMS // 3 + 1), "A picture of")
    assert recorded == []


def test_no_more_shapes_are_kept_than_may_be(recorded, monkeypatch):
    monkeypatch.setattr(inference_graphs, "TIMES", 1)
    model = network("none").eval()
    inference_graphs.replay_inference(model)
    with torch.no_grad():
        for count in (1, 2, 3, 4, 5, 5, 1):
            model.expert_encoder(random_inputs(model.config, count))
    assert recorded.count("recorded") == 6
    assert len(model.expert_encoder.forward._kept._kept) == inference_graphs.MOST_SHAPES
