"""Training with replayed graphs learns the same, with a recorder in place of CUDA's."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

from benchmarks.networks import random_inputs
from helpers.performance import training_graphs
from helpers.performance.training_graphs import MOST_SHAPES, record_losses, why_not
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from model.captioning import PrismerCaption
from model.modules.label_map import LabelMap
from tests.benchmarks.nano_network import learn, network

TEXTS = ["A picture of a red cube", "A picture of two cones and a red cube on a table"]


class Recorder:
    """Stands in for CUDA graphs: a replay calls the function again, and writes into its first results."""

    def __init__(self) -> None:
        self.captured, self.replayed = 0, 0

    def capture(self, work: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
        self.captured += 1
        results = work()

        def replay() -> None:
            self.replayed += 1
            with torch.enable_grad():  # autograd replays the work without it
                again = work()
            for place, value in zip(_pytree.tree_leaves(results), _pytree.tree_leaves(again), strict=True):
                if place is not None:
                    place.copy_(value)

        return replay, results


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(training_graphs, "capture", recorder.capture)
    monkeypatch.setattr(training_graphs, "warm_up", lambda work: work())
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


def train(model: PrismerCaption, batch: int = 2, times: int = 1) -> list[Tensor]:
    """Gradients, and running statistics after the pass."""
    _, gradients = learn(model, TEXTS * (batch // 2), times=times)
    return [*(x.clone() for x in gradients), *(buffer.clone() for buffer in model.buffers())]


def test_learns_what_it_learns_without(recorder):
    plain, model = new_model(False), new_model(True)
    for times in (1, 2):  # gradients of two batches add up, though they come in the same memory
        for expected, found in zip(train(plain, times=times), train(model, times=times), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (recorder.captured, recorder.replayed) == (2, 6)  # forward and backward


def test_each_shape_has_a_graph_until_there_are_too_many(recorder):
    model = new_model(True)
    for batch in (2, 4, 2, *range(6, 2 * MOST_SHAPES + 4, 2)):
        train(model, batch)
    assert recorder.captured == 2 * MOST_SHAPES
    assert recorder.replayed == 2 * (MOST_SHAPES + 1)


def test_batches_of_other_numbers_of_objects_have_one_shape(recorder):
    plain, model = new_model(False).eval(), new_model(True)
    for objects in (5, 9, 20):
        images = random_inputs(model.config, 2)
        index, table = images["obj_detection"]
        images["obj_detection"] = LabelMap(index % objects, table[:, -objects - 1 :])
        torch.manual_seed(objects)
        found = model(images, TEXTS, "A picture of")
        torch.manual_seed(objects)
        torch.testing.assert_close(found, plain.train()(images, TEXTS, "A picture of"))
    assert recorder.captured == 2


def test_other_frozen_weights_are_recorded_anew(recorder):
    model = new_model(True)
    train(model)
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})
    train(model)
    assert recorder.captured == 4


def test_evaluation_does_without(recorder):
    model = new_model(True).eval()
    with torch.no_grad():
        model(random_inputs(model.config, 2), TEXTS, "A picture of")
        assert len(model.generate(random_inputs(model.config, 2))) == 2
    assert recorder.captured == 0


@pytest.mark.parametrize(
    ("device", "processes", "checkpointing", "reason"),
    [
        ("cpu", 1, "none", "a GPU"),
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
    assert "--compile graphs: no CUDA graphs are recorded: they need a GPU" in capsys.readouterr().out
