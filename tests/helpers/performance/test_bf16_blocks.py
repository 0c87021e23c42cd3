"""Blocks in autocast's type: results, number of casts, and parts that stay float32."""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.networks import EXPERTS, TOKENIZER, random_inputs
from helpers.checkpoints.load import build_model
from helpers.performance.bf16_blocks import forget_inference, kept_copies, lower_blocks
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.sizes import read_model_size
from tests.benchmarks.nano_network import learn, network


class Calls(TorchDispatchMode):
    """Counts torch's operations, without views (`_unsafe_view` is a view too)."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if not function.is_view and "view" not in function.name():
            self.count[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def prepared(freeze: str = "freeze_vision") -> PrismerCaption:
    torch.manual_seed(0)
    model = network(freeze)
    lower_blocks(model)
    return model


def test_a_step_of_the_base_models_depth_has_few_calls():
    size = read_model_size("prismer_nano")
    vision, text = replace(size.vision, layers=12), replace(size.text, layers=12, dropout=0.0)
    model = build_model(PrismerCaption, PrismerConfig(vision, text, EXPERTS, 112, 64), TOKENIZER)
    model.freeze("freeze_vision")
    lower_blocks(model.train())
    learn(model, bf16=True)  # casts frozen weights
    with Calls() as calls:
        learn(model, bf16=True)
    assert calls.count["_to_copy"] <= 150
    assert calls.count.total() <= 2400


def test_float32_is_as_before_to_the_bit():
    torch.manual_seed(0)
    expected = learn(network("freeze_vision"))
    found = learn(prepared())
    assert torch.equal(found[0], expected[0])
    assert all(map(torch.equal, found[1], expected[1]))


@pytest.mark.parametrize("freeze", ["none", "freeze_lang_vision"])
def test_bfloat16_is_near_float32_as_autocast_is(freeze):
    torch.manual_seed(0)
    plain, model = network(freeze), prepared(freeze)
    loss, gradients = learn(plain)

    def error(found: list[Tensor]) -> float:
        parts = [(x - y).norm() for x, y in zip(found, gradients, strict=True)]
        return float(torch.stack(parts).norm() / torch.stack([x.norm() for x in gradients]).norm())

    autocast, (low_loss, low) = learn(plain, bf16=True), learn(model, bf16=True)
    assert {x.dtype for x in low} == {torch.float32}
    assert low_loss.item() == pytest.approx(loss.item(), rel=1e-3)
    assert error(low) < 2 * error(autocast[1]) < 0.1


def test_frozen_weights_are_cast_once_and_follow_new_values():
    model = prepared()
    learn(model, bf16=True)
    copies = kept_copies(model)
    frozen = [p for block in model.blocks() for p in block.parameters() if not p.requires_grad]
    assert [x.numel() for x in copies] == [p.numel() for p in frozen]
    before, _ = learn(model, bf16=True)
    assert all(x is y for x, y in zip(copies, kept_copies(model), strict=True))
    names = list(model.state_dict())
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})
    after, _ = learn(model, bf16=True)
    assert abs(after - before) > 0.1
    assert list(model.state_dict()) == names
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_evaluation_between_steps_changes_nothing():
    model = prepared()
    expected = learn(model, bf16=True)
    statistics = [x.clone() for x in model.buffers()]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model.eval().generate(random_inputs(model.config, 2), "A picture of")
    model.train()
    for buffer, value in zip(model.buffers(), statistics, strict=True):
        assert torch.equal(buffer, value)
    loss, gradients = learn(model, bf16=True)
    assert torch.equal(loss, expected[0])
    assert all(map(torch.equal, gradients, expected[1]))
    assert len(kept_copies(model)) == sum(not p.requires_grad for b in model.blocks() for p in b.parameters())


def test_what_an_evaluation_keeps_goes_when_it_is_over():
    model = prepared()
    learn(model, bf16=True)
    frozen = kept_copies(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.eval().expert_encoder(random_inputs(model.config, 2))
    assert len(kept_copies(model)) > len(frozen)
    forget_inference(model)
    assert all(map(operator.is_, kept_copies(model), frozen))
    assert len(kept_copies(model)) == len(frozen)
