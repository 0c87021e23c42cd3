"""What is recorded and replayed, with a recorder in place of CUDA's."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import experts
from helpers.parallel.graphs import MOST_SHAPES, record_losses, why_not
from helpers.parallel.preparation import prepare_model
from helpers.parallel.processes import start_accelerator
from model.captioning import PrismerCaption
from tests.benchmarks.nano_network import network

TEXTS = ["A picture of a red cube", "A picture of two cones and a red cube on a table"]


class Recorder:
    """Runs what it is to record three times, as CUDA's does; replays write gradients into the same memory."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0

    def __call__(self, module: nn.Module, batch: tuple, **_: Any) -> nn.Module:
        self.recorded += 1
        for _turn in range(3):
            module(*batch)
        parameters = [p for p in module.parameters() if p.requires_grad]
        memory = [torch.zeros_like(p) for p in parameters]
        recorder = self

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, *_parameters: Tensor) -> Tensor:
                with torch.enable_grad():
                    context.losses = module(*recorder.batch)
                return context.losses.detach()

            @staticmethod
            def backward(context: Any, gradient: Tensor) -> tuple:
                found = torch.autograd.grad(context.losses, parameters, gradient, allow_unused=True)
                for place, value in zip(memory, found, strict=True):
                    place.zero_() if value is None else place.copy_(value)
                return tuple(place.detach() for place in memory)

        def replay(*batch: Any) -> Tensor:
            self.replayed += 1
            self.batch = batch
            return Replay.apply(*parameters)

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)
    return recorder


def new_model(recorded: bool) -> PrismerCaption:
    torch.manual_seed(0)
    model = network("freeze_vision", dropout=0.1)
    if recorded:
        record_losses(model)
    model.multiple = 16  # dropout draws the same
    return model


def learn(model: PrismerCaption, batch: int = 2, times: int = 1) -> list[Tensor]:
    torch.manual_seed(1)
    for _ in range(times):
        model(experts(model.config, batch), TEXTS * (batch // 2), "A picture of").backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return [*found, *(buffer.clone() for buffer in model.buffers())]


def test_learns_what_it_learns_without(recorder):
    plain, model = new_model(False), new_model(True)
    for times in (1, 2):  # gradients of two batches add up, though they come in the same memory
        for expected, found in zip(learn(plain, times=times), learn(model, times=times), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (recorder.recorded, recorder.replayed) == (1, 3)


def test_each_shape_has_a_graph_until_there_are_too_many(recorder):
    model = new_model(True)
    for batch in (2, 4, 2, *range(6, 2 * MOST_SHAPES + 4, 2)):
        learn(model, batch)
    assert recorder.recorded == MOST_SHAPES
    assert recorder.replayed == MOST_SHAPES + 1


def test_other_frozen_weights_are_recorded_anew(recorder):
    model = new_model(True)
    learn(model)
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})
    learn(model)
    assert recorder.recorded == 2


def test_evaluation_does_without(recorder):
    model = new_model(True).eval()
    with torch.no_grad():
        model(experts(model.config, 2), TEXTS, "A picture of")
        assert len(model.generate(experts(model.config, 2))) == 2
    assert recorder.recorded == 0


@pytest.mark.parametrize(
    ("device", "processes", "checkpointing", "reason"),
    [
        ("cpu", 1, "none", "a GPU's"),
        ("cuda", 2, "none", "several processes"),
        ("cuda", 1, "full", "checkpointed"),
        ("cuda", 1, "none", None),
    ],
)
def test_where_it_cannot_be(device, processes, checkpointing, reason):
    accelerator = SimpleNamespace(device=torch.device(device), num_processes=processes)
    found = why_not(accelerator, checkpointing)
    assert found is None if reason is None else reason in found


def test_says_so_in_a_line(capsys):
    prepare_model(network("none"), start_accelerator("no"), freeze="none", compiled="graphs")
    assert "--compile graphs: compiled, but without CUDA graphs" in capsys.readouterr().out
