"""The plan against measurements: real activations, real shards of two processes, counted operations."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import pytest
import torch

from benchmarks import memory_plan, saved_activations
from benchmarks.measure import count_flops
from helpers.checkpoints.load import without_memory
from helpers.performance.bf16_blocks import kept_copies, lower_blocks
from helpers.training.distribution.activation_checkpointing import checkpoint_activations
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.benchmarks.nano_network import network
from tests.forked_script import forked_script
from tests.helpers.training.distribution.spread import new_model

BATCH = 4


@pytest.mark.parametrize(("cls", "freeze"), [(PrismerCaption, "freeze_lang_vision"), (PrismerVQA, "freeze_vision")])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_activations_are_those_of_a_real_forward_pass(cls, freeze, precision):
    real = network(freeze, cls)
    lower_blocks(real)
    with autocast(precision):
        memory_plan.loss(real, BATCH, "cpu")  # makes the copies of frozen weights
    with saved_activations.saved_activations(real) as measured, autocast(precision):
        memory_plan.loss(real, BATCH, "cpu")
    with without_memory():
        planned_model = network(freeze, cls)
    planned = memory_plan.activations(planned_model, BATCH, sharded=False, precision=precision)
    assert measured.total > 20e6
    assert planned.total == pytest.approx(measured.total, rel=3e-3)
    assert planned.checkpointed == pytest.approx(measured.checkpointed, rel=3e-3)
    assert memory_plan.state(planned_model, "none", 1, precision).copies == sum(x.nbytes for x in kept_copies(real))
    checkpoint_activations(real, "full")
    with saved_activations.saved_activations(real) as measured, autocast(precision):
        memory_plan.loss(real, BATCH, "cpu")
    assert planned.kept == pytest.approx(measured.total, rel=3e-3)


def test_sharded_blocks_leave_no_copies_of_their_weights():
    with without_memory():
        model = network("freeze_vision")
    whole, sharded = (
        memory_plan.activations(model, BATCH, sharded, torch.bfloat16).total for sharded in (False, True)
    )
    weights = [p for block in model.blocks() for p in block.parameters()]
    assert whole - sharded == sum(2 * p.numel() for p in weights if p.requires_grad)


def autocast(precision: torch.dtype) -> AbstractContextManager:
    return nullcontext() if precision == torch.float32 else torch.autocast("cpu", precision)


def test_shards_are_those_of_two_processes(tmp_path):
    done = forked_script("tests/benchmarks/measure_state.py", cwd=tmp_path, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout)
    model = new_model()
    model.freeze("freeze_vision")
    planned = {mode: asdict(memory_plan.state(model, mode, 2, torch.bfloat16)) for mode in memory_plan.MODES}
    for mode, found in measured.items():
        for key in ("parameters", "gradients", "optimizer"):
            assert planned[mode][key] == found[key], (mode, key)
    assert planned["shard_grad_op"]["whole_parameters"] == measured["shard_grad_op"]["whole_parameters"]
    # On a CPU the next block is not gathered before its turn; on a GPU it is, and the plan has it.
    second = sorted(sum(p.numel() for p in block.parameters()) for block in model.blocks())[-2] * 2
    planned_ahead = planned["full_shard"]["whole_parameters"]
    assert planned_ahead - second == measured["full_shard"]["whole_parameters"]


def test_operations_are_those_of_a_real_step():
    real = network("freeze_vision")
    counted = count_flops(lambda: memory_plan.loss(real, 1, "cpu").backward())
    with without_memory():
        model = network("freeze_vision")
    assert memory_plan.flops(model, 1) == pytest.approx(counted, rel=0.02)


def test_prints_tables_and_days(monkeypatch, capsys):
    monkeypatch.setattr(memory_plan, "SIZES", ("prismer_base",))
    monkeypatch.setattr(memory_plan, "TASKS", ("pre-training",))
    monkeypatch.setattr(sys, "argv", ["memory_plan"])
    memory_plan.main()
    printed = capsys.readouterr().out
    assert "prismer_base, pre-training, ZeRO-3" in printed
    assert "a calculation" in printed
    monkeypatch.setattr(sys, "argv", ["memory_plan", "--samples_per_second", "1000"])
    memory_plan.main()
    assert "2.9 days" in capsys.readouterr().out  # 12.7 million pairs, 20 epochs
