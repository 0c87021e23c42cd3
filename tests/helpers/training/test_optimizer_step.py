"""Steps on one process: accumulated, clipped, scaled, skipped; and when a run ends for it."""

import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from common.errors import UserError
from helpers.training.distribution.processes import start_accelerator
from helpers.training.optimizer_step import MeanLoss, Stepper
from helpers.training.schedule import build_optimizer
from helpers.training.skipped_steps import SkippedSteps

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def new_stepper(
    accumulate_steps: int = 1, max_grad_norm: float | None = None, scale: float = 0, batch_size: int = 1
) -> Stepper:
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    scaler = torch.amp.GradScaler("cpu", enabled=scale > 0, init_scale=scale)
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.05)
    return Stepper(model, optimizer, scaler, accumulate_steps, max_grad_norm, batch_size)


def loss_of(stepper: Stepper, x: torch.Tensor) -> torch.Tensor:
    return stepper.model(x).square().mean()


def state(stepper: Stepper) -> list[torch.Tensor]:
    moments = [x for entry in stepper.optimizer.state.values() for x in entry.values()]
    return [x.detach().clone() for x in [*stepper.parameters, *moments]]


def assert_same(first: Stepper, second: Stepper) -> None:
    torch.testing.assert_close(state(first), state(second), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4])  # what the stepper is told changes nothing
@pytest.mark.parametrize("scale", [0, 2.0**10])
@pytest.mark.parametrize(
    ("sizes", "accumulate_steps", "steps"),
    [
        ([2, 2, 2], 3, [[0, 1, 2]]),
        ([4, 1, 1], 3, [[0, 1, 2]]),
        ([2, 2, 2], 2, [[0, 1], [2]]),  # the last step of an epoch has the batches that are left
        ([1, 2, 2, 1], 2, [[0, 1], [2, 3]]),
    ],
)
def test_batches_accumulate_to_the_gradient_of_their_samples_together(
    sizes, accumulate_steps, steps, scale, batch_size
):
    whole, parts = new_stepper(scale=scale), new_stepper(accumulate_steps, scale=scale, batch_size=batch_size)
    batches, found = X.split(sizes), []
    expected = [whole.step(loss_of(whole, torch.cat([batches[i] for i in step]))) for step in steps]
    for x in parts.batches([{"rgb": x, "index": 0} for x in batches], len(batches)):
        found.append(parts.step(loss_of(parts, x["rgb"])))
    lasts = [step[-1] for step in steps]
    assert [norm is not None for norm in found] == [i in lasts for i in range(len(batches))]
    torch.testing.assert_close([found[i] for i in lasts], expected)
    assert_same(parts, whole)


def test_long_gradients_are_shortened():
    clipped, plain = new_stepper(max_grad_norm=1e-3), new_stepper()
    seen = []
    for stepper in (clipped, plain):
        hook = stepper.optimizer.register_step_pre_hook(
            lambda optimizer, *_: seen.append([p.grad.clone() for p in optimizer.param_groups[0]["params"]])
        )
        norm = stepper.step(loss_of(stepper, X))
        hook.remove()
    for short, long in zip(*seen, strict=True):
        torch.testing.assert_close(short, long * 1e-3 / norm, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("scale", [0, 2.0**10])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_whose_loss_is_not_finite_changes_nothing(bad, scale):
    stepper = new_stepper(accumulate_steps=2, scale=scale)
    for _ in range(2):
        for x in stepper.batches(X.split(3), 2):
            stepper.step(loss_of(stepper, x))
    before = state(stepper)
    for index, x in enumerate(stepper.batches(X.split(3), 2)):
        norm = stepper.step(loss_of(stepper, x) + (bad if index == 0 else 0))
    assert not torch.isfinite(norm)
    assert all(map(torch.equal, before, state(stepper)))
    for x in stepper.batches(X.split(3), 2):
        norm = stepper.step(loss_of(stepper, x))
    assert torch.isfinite(norm)
    assert stepper.optimizer.state[stepper.parameters[0]]["step"] == 3
    if scale:
        assert stepper.scaler.get_scale() == scale / 2


def test_a_step_whose_gradient_alone_is_not_finite_changes_nothing():
    stepper = new_stepper()
    before = state(stepper)
    loss = stepper.model(X).sub(stepper.model(X)).abs().sqrt().sum()  # 0, whose root has no slope
    assert torch.isfinite(loss)
    assert not torch.isfinite(stepper.step(loss))
    assert all(map(torch.equal, before, state(stepper)))


def test_float16_lowers_its_scale_and_then_learns_what_float32_does():
    half, whole = new_stepper(scale=2.0**16), new_stepper()
    norms = []
    while sum(map(math.isfinite, norms)) < 3:
        with torch.autocast("cpu", torch.float16):
            loss = loss_of(half, X)
        norms.append(half.step(loss.float()).item())
    assert not math.isfinite(norms[0])
    assert half.scaler.get_scale() == 2.0 ** (16 - (len(norms) - 3))
    for _ in range(3):
        whole.step(loss_of(whole, X))
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


def test_float16_is_refused_on_a_cpu():
    AcceleratorState._reset_state()
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        start_accelerator("fp16")
    AcceleratorState._reset_state()
