"""Checkpointed blocks learn the same, with dropout, and keep less; the stems run once."""

import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import network, random_inputs
from benchmarks.saved_activations import saved_activations
from helpers.training.distribution.activation_checkpointing import checkpoint_activations
from model.captioning import PrismerCaption
from model.tokenizer import load_tokenizer
from tests.model import tiny

INPUT = (2, 9, 64)
CAPTIONS = ["A picture of a red cube", "A picture of two cones"]


def learn(mode: str, bf16: bool = False, compiled: bool = False) -> tuple[Tensor, list[Tensor], nn.Module]:
    """Loss, gradients and model after a step of the nano model, which has dropout and six stems."""
    model = network(PrismerCaption, tiny=True).train()
    model.freeze("freeze_lang_vision")
    checkpoint_activations(model, mode)
    if compiled:
        for block in model.expert_encoder.blocks():
            block.compile(backend="aot_eager")  # generates no C++, which takes half a minute
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(random_inputs(model.config, 2), CAPTIONS, "A picture of")
    loss.backward()
    return loss, [p.grad for p in model.parameters() if p.requires_grad], model


@pytest.mark.parametrize("bf16", [False, True])
def test_loss_and_gradients_are_the_same_to_the_bit(bf16):
    expected, gradients, _ = learn("none", bf16)
    for mode in ("full", "offload"):
        loss, found, _ = learn(mode, bf16)
        assert torch.equal(loss, expected)
        assert all(map(torch.equal, found, gradients))


@pytest.mark.parametrize("mode", ["full", "offload"])
def test_compiled_blocks_can_be_checkpointed(mode):
    expected, gradients, _ = learn("none")
    loss, found, _ = learn(mode, compiled=True)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-5)


def test_running_statistics_are_updated_once_a_step():
    norms = [
        [module for module in learn(mode)[2].modules() if isinstance(module, nn.BatchNorm2d)]
        for mode in ("none", "full")
    ]
    assert len(norms[0]) == 24
    for once, checkpointed in zip(*norms, strict=True):
        assert checkpointed.num_batches_tracked == 1
        assert torch.equal(once.running_var, checkpointed.running_var)


def test_names_of_weights_stay_and_texts_are_generated():
    model, images = tiny.build(PrismerCaption, end=4.0), tiny.images(2)
    names, captions = list(model.state_dict()), model.generate(images)
    checkpoint_activations(model, "full")
    assert list(model.state_dict()) == names
    assert model.generate(images) == captions


def three_layers(mode: str) -> PrismerCaption:
    config = replace(tiny.CONFIG, vision=replace(tiny.CONFIG.vision, layers=3))
    model = PrismerCaption(config, load_tokenizer(tiny.TOKENIZER)).train()
    checkpoint_activations(model, mode)
    return model


def test_only_inputs_are_kept():
    kept = {}
    for mode in ("none", "full", "offload"):
        model, x = three_layers(mode), torch.randn(INPUT, requires_grad=True)
        with saved_activations(model) as saved:
            model.expert_encoder.transformer(x)
        kept[mode] = saved.total
    assert kept["full"] == 3 * math.prod(INPUT) * 4
    assert kept["none"] > 20 * kept["full"]
    assert kept["offload"] == 0


def test_a_frozen_block_whose_input_needs_no_gradient_keeps_nothing():
    model, x = three_layers("full").requires_grad_(False), torch.randn(INPUT)
    seen = weakref.ref(x)
    out = model.expert_encoder.transformer(x)
    del x
    assert seen() is None
    assert not out.requires_grad
