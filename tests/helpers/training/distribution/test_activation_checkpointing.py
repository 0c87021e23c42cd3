"""Checkpointed blocks learn the same, with dropout, and keep less; the stems run once."""

import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.saved_activations import saved_activations
from helpers.performance.bf16_blocks import lower_blocks
from helpers.training.distribution.activation_checkpointing import checkpoint_activations
from model.captioning import PrismerCaption
from model.tokenizer import load_tokenizer
from tests.benchmarks.nano_network import learn, network
from tests.model import tiny

INPUT = (2, 9, 64)
both = pytest.mark.parametrize("mode", ["full", "offload"])
precisions = pytest.mark.parametrize("bf16", [False, True])


def prepared(mode: str, compiled: bool = False) -> PrismerCaption:
    """The nano model in training, which has dropout and six stems."""
    torch.manual_seed(0)
    model = network("freeze_lang_vision", dropout=0.1)
    if compiled:
        for block in model.expert_encoder.blocks():
            # generates no C++, which takes half a minute
            block.forward = torch.compile(block.forward, backend="aot_eager")
    lower_blocks(model)
    checkpoint_activations(model, mode)
    return model


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Relative error of all gradients together."""
    squares = [((x - y).norm() ** 2, y.norm() ** 2) for x, y in zip(found, expected, strict=True)]
    return math.sqrt(sum(error for error, _ in squares) / sum(size for _, size in squares))


@precisions
def test_full_is_the_same_to_the_bit(bf16):
    expected, found = (learn(prepared(mode), bf16=bf16) for mode in ("none", "full"))
    assert torch.equal(found[0], expected[0])
    assert distance(found[1], expected[1]) == 0


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-6), (True, 5e-3)])
def test_offload_is_the_same_up_to_the_order_of_sums(bf16, tolerance):
    """In the gradient of the encoder's output, the shares of each decoder layer are summed first."""
    expected, found = (learn(prepared(mode), bf16=bf16) for mode in ("none", "offload"))
    assert torch.equal(found[0], expected[0])
    assert distance(found[1], expected[1]) < tolerance


@precisions
@pytest.mark.parametrize("tower", ["vision", "text"])
def test_offloaded_towers_are_the_same_to_the_bit(tower, bf16):
    found = []
    for mode in ("none", "offload"):
        model = prepared(mode)
        torch.manual_seed(1)
        x = torch.randn(2, 20, model.config.vision.width)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if tower == "vision":
                out = model.expert_encoder.transformer(x)
            else:
                ids = torch.randint(5, 100, (2, 9))
                out = model.text_decoder.read(ids, torch.ones_like(ids), x)
        (out.float() * torch.randn(out.shape)).sum().backward()
        # Nothing before the adaptors needs a gradient.
        found.append([p.grad for name, p in model.named_parameters() if "adaptor" in name and p.grad is not None])
    assert found[0]
    if bf16:
        assert distance(found[1], found[0]) == 0
    else:
        assert distance(found[1], found[0]) < 1e-6


@both
def test_compiled_blocks_can_be_checkpointed(mode):
    (expected, gradients), (loss, found) = learn(prepared("none")), learn(prepared(mode, compiled=True))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-5)


@both
def test_running_statistics_are_updated_once_a_step(mode):
    models = prepared("none"), prepared(mode)
    for model in models:
        learn(model)
    norms = [[module for module in model.modules() if isinstance(module, nn.BatchNorm2d)] for model in models]
    assert len(norms[0]) == 24
    for once, checkpointed in zip(*norms, strict=True):
        assert checkpointed.num_batches_tracked == 1
        assert torch.equal(once.running_var, checkpointed.running_var)


@both
def test_names_of_weights_stay_and_texts_are_generated(mode):
    model, images = tiny.build(PrismerCaption, end=4.0), tiny.images(2)
    names, captions = list(model.state_dict()), model.generate(images)
    checkpoint_activations(model, mode)
    assert list(model.state_dict()) == names
    assert len(list(model.modules())) == len(list(tiny.build(PrismerCaption).modules()))
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
    assert kept["full"] == kept["offload"] == 3 * math.prod(INPUT) * 4
    assert kept["none"] > 20 * kept["full"]


@both
def test_a_frozen_block_whose_input_needs_no_gradient_keeps_nothing(mode):
    model, x = three_layers(mode).requires_grad_(False), torch.randn(INPUT)
    seen = weakref.ref(x)
    out = model.expert_encoder.transformer(x)
    del x
    assert seen() is None
    assert not out.requires_grad
