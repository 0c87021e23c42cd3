"""A checkpoint holds all of a run's state, and loads on any number of processes in any mode."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from helpers.checkpoints.load import restore_model
from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import Sharding
from helpers.training.resume.folders import damage
from helpers.training.resume.saver import rewind_metrics
from helpers.training.resume.sharded_tensors import read_whole
from helpers.training.resume.training_state import (
    Progress,
    load_optimizer,
    load_process,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from helpers.training.schedule import build_optimizer
from model.captioning import PrismerCaption
from tests.forked import fork, ready_to_fork
from tests.forked_script import codes
from tests.model import tiny

CONFIG = replace(tiny.CONFIG, experts=("depth",), label_resolution=24)
Mode = tuple[Sharding, int]  # and number of processes


@pytest.fixture(autouse=True, scope="module")
def _ready() -> Iterator[None]:
    with ready_to_fork():
        yield


def prepared(model: PrismerCaption, sharding: Sharding) -> tuple[Accelerator, nn.Module, torch.optim.Optimizer]:
    accelerator = start_accelerator("no")
    model = prepare_model(model, accelerator, freeze="freeze_lang_vision", sharding=sharding)
    return accelerator, model, build_optimizer(model, lr=0.1, weight_decay=0.0)


def save_new(folder: Path, sharding: Sharding) -> None:
    """A model after a step, its weights, moments and statistics all different."""
    torch.manual_seed(0)
    model = PrismerCaption(CONFIG, tiny.load_tokenizer(tiny.TOKENIZER))
    for norm in [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]:
        norm.running_mean.normal_()
    accelerator, model, optimizer = prepared(model, sharding)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = parameter.detach() * 0.5 + 1
    optimizer.step()
    own = {"loss": torch.tensor(float(accelerator.process_index))}
    save_checkpoint(folder, accelerator, model, optimizer, {}, own, {"progress": {"step": 1}})


def load_and_save(source: Path, target: Path, sharding: Sharding) -> None:
    state = read_weights(find_weights(source))
    accelerator, model, optimizer = prepared(
        restore_model(PrismerCaption, CONFIG, str(tiny.TOKENIZER), state, "saved"), sharding
    )
    load_optimizer(source, accelerator, model, optimizer)
    sums, states = load_process(source, accelerator)
    same = len(list(source.glob("process_*"))) == accelerator.num_processes
    assert sums["loss"] == (accelerator.process_index if same else 0)
    assert (states is not None) == same
    save_checkpoint(target, accelerator, model, optimizer, {}, sums, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("none", 1), ("full_shard", 2)),
        (("full_shard", 2), ("none", 1)),
        (("full_shard", 2), ("none", 2)),
    ],
)
def test_weights_and_optimizer_move_to_another_mode(tmp_path: Path, before: Mode, after: Mode):
    """What is loaded and saved again is the same to the bit, optimizer and statistics included."""
    source, target = tmp_path / "source", tmp_path / "target"
    assert codes(fork(partial(save_new, source, before[0]), tmp_path / "a", before[1])) == [0] * before[1]
    again = partial(load_and_save, source, target, after[0])
    assert codes(fork(again, tmp_path / "b", after[1])) == [0] * after[1], (tmp_path / "b/output_0").read_text()
    found, expected = read_whole(target, ""), read_whole(source, "")
    assert found.keys() == expected.keys()
    assert any(name.startswith("optimizer.") and name.endswith("exp_avg_sq") for name in found)
    assert any(name.endswith("running_mean") for name in found)
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
    assert damage(source) is damage(target) is None
    assert len(list(target.glob("shard-*"))) == len(list(target.glob("process_*"))) == after[1]


def test_all_generators_go_on_as_they_were(tmp_path: Path):
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), float(torch.rand(())), np.random.randn()]  # noqa: NPY002

    np.random.randn()  # noqa: NPY002 (numpy keeps the second of a pair)
    torch.save(random_state(), tmp_path / "states.pt")
    expected = draw()
    draw()
    restore_random_state(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draw() == expected


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.5, 0.7, 0.6), (True, True, False)),
        ((0.0, 0.0, -1.0), (True, True, False)),  # of equal ones the newer
        ((None, None), (True, True)),  # nothing to choose by
        ((None, 0.1, None, 0.1), (True, True, False, True)),  # a scorer failed
    ],
)
def test_which_weights_are_kept(scores, kept):
    progress = Progress()
    assert tuple(map(progress.improves, scores)) == kept


RECORDS = [
    {"epoch": 1, "step": 50, "loss": 3.0},
    {"epoch": 1, "step": 70, "train_loss": 2.0},
    {"epoch": 2, "step": 100, "loss": 1.0},
    {"epoch": 2, "step": 140, "train_loss": 0.5},
]


@pytest.mark.parametrize(
    ("progress", "kept"),
    [
        (Progress(epoch=0, consumed=50, step=49), 0),
        (Progress(epoch=0, consumed=51, step=50), 1),
        (Progress(epoch=0, consumed=70, step=70), 1),  # its evaluation is done again
        (Progress(epoch=1, step=70), 2),
        (Progress(epoch=1, consumed=30, step=100), 3),
        (Progress(epoch=2, step=140), 4),
    ],
)
def test_records_of_what_is_done_again_go(tmp_path, progress, kept):
    file = tmp_path / "metrics.jsonl"
    rewind_metrics(file, progress)
    assert not file.exists()
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + '5\n{}\n{"epoch": 2, "st')
    rewind_metrics(file, progress)
    assert [json.loads(line) for line in file.read_text().splitlines()] == RECORDS[:kept]
