"""The learning rate against its formula."""

import pytest

from helpers.training.schedule import Schedule, cosine_lr


@pytest.mark.parametrize(("t", "expected"), [(0, 5e-5), (50, 2.55e-5), (100, 1e-6), (120, 1e-6)])
def test_cosine(t, expected):
    assert cosine_lr(t, 100, 5e-5, 1e-6) == pytest.approx(expected)


@pytest.mark.parametrize("by_epoch", [False, True])
def test_the_schedule_warms_up_then_follows_the_cosine(by_epoch):
    schedule = Schedule(1.0, 0.1, 4, 3, by_epoch=by_epoch, warmup_steps=2, warmup_lr=0.2)
    times = [(step // 3, 4) if by_epoch else (step, 12) for step in range(2, 12)]
    expected = [0.2, 0.6, *(cosine_lr(t, total, 1.0, 0.1) for t, total in times)]
    assert [schedule.lr(step) for step in range(12)] == pytest.approx(expected)
