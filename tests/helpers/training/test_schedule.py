"""The learning rate against its formula, and what the optimizer holds."""

import pytest
from torch import nn

from helpers.training.schedule import Schedule, build_optimizer, cosine_lr


@pytest.mark.parametrize(("t", "expected"), [(0, 5e-5), (50, 2.55e-5), (100, 1e-6), (120, 1e-6)])
def test_cosine(t, expected):
    assert cosine_lr(t, 100, 5e-5, 1e-6) == pytest.approx(expected)


def test_frozen_parameters_are_not_optimised():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.05)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model[1].parameters()]


def test_the_schedule_warms_up_then_follows_the_cosine_by_step():
    schedule = Schedule(1.0, 0.0, epochs=2, steps_per_epoch=4, warmup_steps=2, warmup_lr=0.2)
    expected = [0.2, 0.6] + [cosine_lr(step, 8, 1.0, 0.0) for step in range(2, 8)]
    assert [schedule.lr(step) for step in range(8)] == pytest.approx(expected)


def test_the_schedule_by_epoch_is_the_same_within_one():
    schedule = Schedule(1.0, 0.1, epochs=4, steps_per_epoch=3, by_epoch=True, warmup_steps=1)
    expected = [0.0] + [cosine_lr(step // 3, 4, 1.0, 0.1) for step in range(1, 12)]
    assert [schedule.lr(step) for step in range(12)] == pytest.approx(expected)
