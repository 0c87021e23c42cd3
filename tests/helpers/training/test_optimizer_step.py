"""Steps on one process: accumulated, clipped, scaled, skipped; and when a run ends for it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from common.errors import UserError
from helpers.training.optimizer_step import MeanLoss, OptimizerStep
from helpers.training.schedule import build_optimizer
from helpers.training.skipped_steps import SkippedSteps

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def new_step(
    accumulate_steps: int = 1, max_grad_norm: float | None = None, scale: float = 0, batch_size: int = 1
) -> OptimizerStep:
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    scaler = torch.amp.GradScaler("cpu", enabled=scale > 0, init_scale=scale)
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.05)
    return OptimizerStep(model, optimizer, scaler, max_grad_norm, accumulate_steps * batch_size)


def loss_of(step: OptimizerStep, x: torch.Tensor) -> torch.Tensor:
    return step.model(x).square().mean()


def take(step: OptimizerStep, *losses: torch.Tensor, sizes: Sequence[int] = (1, 1)) -> torch.Tensor:
    """A step of batches of these losses; the norm of its gradient."""
    for number, (loss, samples) in enumerate(zip(losses, sizes, strict=False)):
        with step.batch(samples, is_last=number + 1 == len(losses)):
            step.backward(loss)
    norm = step.clip_gradient()
    step.apply(norm)
    return norm


def state(step: OptimizerStep) -> list[torch.Tensor]:
    moments = [x for entry in step.optimizer.state.values() for x in entry.values()]
    return [x.detach().clone() for x in [*step.parameters, *moments]]


def assert_same(first: OptimizerStep, second: OptimizerStep) -> None:
    torch.testing.assert_close(state(first), state(second), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4])  # the usual size changes nothing
@pytest.mark.parametrize("scale", [0, 2.0**10])
@pytest.mark.parametrize(
    ("sizes", "accumulate_steps", "batches_of_steps"),
    [
        ([2, 2, 2], 3, [[0, 1, 2]]),
        ([4, 1, 1], 3, [[0, 1, 2]]),
        ([2, 2, 2], 2, [[0, 1], [2]]),  # the last step of an epoch has the batches that are left
        ([1, 2, 2, 1], 2, [[0, 1], [2, 3]]),
    ],
)
def test_batches_accumulate_to_the_gradient_of_their_samples_together(
    sizes, accumulate_steps, batches_of_steps, scale, batch_size
):
    whole, parts = new_step(scale=scale), new_step(accumulate_steps, scale=scale, batch_size=batch_size)
    batches = X.split(sizes)
    for numbers in batches_of_steps:
        together = torch.cat([batches[number] for number in numbers])
        expected = take(whole, loss_of(whole, together))
        losses = [loss_of(parts, batches[number]) for number in numbers]
        found = take(parts, *losses, sizes=[sizes[number] for number in numbers])
        torch.testing.assert_close(found, expected)
    assert_same(parts, whole)


def test_long_gradients_are_shortened():
    clipped, plain = new_step(max_grad_norm=1e-3), new_step()
    seen = []
    for step in (clipped, plain):
        hook = step.optimizer.register_step_pre_hook(
            lambda optimizer, *_: seen.append([p.grad.clone() for p in optimizer.param_groups[0]["params"]])
        )
        norm = take(step, loss_of(step, X))
        hook.remove()
    for short, long in zip(*seen, strict=True):
        torch.testing.assert_close(short, long * 1e-3 / norm, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("scale", [0, 2.0**10])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_whose_loss_is_not_finite_changes_nothing(bad, scale):
    step = new_step(accumulate_steps=2, scale=scale)

    def take_both(added: float = 0.0) -> torch.Tensor:
        first, second = (loss_of(step, x) for x in X.split(3))
        return take(step, first + added, second)

    take_both()
    take_both()
    before = state(step)
    assert not torch.isfinite(take_both(bad))
    assert all(map(torch.equal, before, state(step)))
    assert torch.isfinite(take_both())
    assert step.optimizer.state[step.parameters[0]]["step"] == 3
    if scale:
        assert step.scaler.get_scale() == scale / 2


def test_a_step_whose_gradient_alone_is_not_finite_changes_nothing():
    step = new_step()
    before = state(step)
    loss = step.model(X).sub(step.model(X)).abs().sqrt().sum()  # 0, whose root has no slope
    assert torch.isfinite(loss)
    assert not torch.isfinite(take(step, loss))
    assert all(map(torch.equal, before, state(step)))


def test_float16_lowers_its_scale_and_then_learns_what_float32_does():
    half, whole = new_step(scale=2.0**16), new_step()
    norms = []
    while sum(map(math.isfinite, norms)) < 3:
        with torch.autocast("cpu", torch.float16):
            loss = loss_of(half, X)
        norms.append(take(half, loss.float()).item())
    assert not math.isfinite(norms[0])
    assert half.scaler.get_scale() == 2.0 ** (16 - (len(norms) - 3))
    for _ in range(3):
        take(whole, loss_of(whole, X))
    torch.testing.assert_close(state(half)[0], state(whole)[0], rtol=1e-2, atol=1e-2)


def test_a_loss_counts_as_often_as_it_has_samples_and_not_at_all_if_it_is_not_finite():
    losses = MeanLoss()
    assert losses.mean() == 0
    for loss, samples in ((1.0, 3), (math.nan, 3), (5.0, 1), (math.inf, 1)):
        losses.add(torch.tensor(loss), samples)
    assert losses.mean() == 2


def watched(tmp_path: Path) -> SkippedSteps:
    names = lambda: [f"image_{index}" for index in range(10)]  # noqa: E731
    return SkippedSteps(2, tmp_path / "run" / "skipped_steps.json", Accelerator(cpu=True), names)


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path, capsys):
    steps, norms = watched(tmp_path), [1.0, math.nan, 1.0, math.nan, math.inf]
    seen = [steps.note(number, torch.tensor(norm), [number]) for number, norm in enumerate(norms)]
    assert seen == [False, False, True, False, True]  # each one step late
    with pytest.raises(UserError, match=r"2 steps in a row.*skipped_steps\.json$") as error:
        steps.check()
    assert "\n" not in str(error.value)
    expected = [{"step": 3, "samples": ["image_3"]}, {"step": 4, "samples": ["image_4"]}]
    assert json.loads(steps.file.read_text()) == expected
    assert capsys.readouterr().out.count("skipped: its loss or gradient is not finite") == 3
