"""Compiled models give the same results, with few graphs and no graph breaks."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from benchmarks.networks import random_inputs
from helpers.performance.bf16_blocks import lower_blocks
from helpers.performance.compilation import compile_model
from helpers.training.distribution.activation_checkpointing import checkpoint_activations
from model.captioning import PrismerCaption
from model.prismer import Prismer
from model.vqa import PrismerVQA
from tests.benchmarks.nano_network import learn, network

WORDS = 4 * ("a", "red", "cube", "and", "two", "cones")


class Graphs:
    """Stands in for a compiler: it counts the graphs that torch gives it, and runs them unchanged."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        self.count += 1
        return module


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graphs]:
    backend, compiler = Graphs(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: compiler(*args, **options, backend=backend))
    torch._dynamo.reset()
    counters.clear()
    yield backend
    torch._dynamo.reset()


def step(model: Prismer, words: int, batch: int = 2, bf16: bool = True) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of a batch whose longest text has `words` words."""
    texts = [" ".join(["A picture of", *WORDS[: words - row % words]]) for row in range(batch)]
    return learn(model, texts, bf16)


def prepared(cls: type[Prismer], freeze: str, compiled: bool, checkpointing: str = "none") -> Prismer:
    torch.manual_seed(0)
    model = network(freeze, cls)
    if compiled:
        compile_model(model)
    lower_blocks(model)
    checkpoint_activations(model, checkpointing)
    return model


# Vision layers, resampler blocks, the decoder's layers, its last, the loss; stems of 1, 3 and 64 channels.
KINDS = 8


@pytest.mark.parametrize(
    ("cls", "freeze", "checkpointing"),
    [(PrismerCaption, "freeze_lang_vision", "none"), (PrismerVQA, "freeze_vision", "full")],
)
def test_an_epoch_compiles_few_graphs_and_learns_the_same(graphs, cls, freeze, checkpointing):
    plain, model = (prepared(cls, freeze, compiled, checkpointing) for compiled in (False, True))
    for bf16 in (False, True):
        expected, found = (step(each, 3, bf16=bf16) for each in (plain, model))
        torch.testing.assert_close(found[0], expected[0], rtol=1e-2 if bf16 else 1e-5, atol=0)
        if not bf16:
            torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5)
    graphs.count = 0
    for words in (1, 2, 3, 4, 5, 6):
        step(model, words)
    assert graphs.count == 0
    for words in (12, 14, 16, 18):
        step(model, words)
    assert graphs.count <= 3  # of longer texts: the decoder's layers, its last, the loss
    assert not counters["graph_break"]


def test_first_step_compiles_each_kind_once(graphs):
    model = prepared(PrismerCaption, "freeze_vision", compiled=True)
    names = list(model.state_dict())
    step(model, 3)
    assert graphs.count == KINDS
    assert not counters["graph_break"]
    assert list(model.state_dict()) == names
    step(model, 3, batch=4)  # but for the stems, nothing is fixed to a size then
    step(model, 3, batch=6)
    assert graphs.count == 2 * KINDS + 3


def test_texts_are_generated_as_before(graphs):
    plain, model = (prepared(PrismerCaption, "none", compiled).eval() for compiled in (False, True))
    images = random_inputs(plain.config, 2)
    assert model.generate(images, "A picture of") == plain.generate(images, "A picture of")
    assert graphs.count < KINDS
