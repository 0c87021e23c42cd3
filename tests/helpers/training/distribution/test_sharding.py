"""Two processes (gloo) train as one does, in every mode, and hold what the mode promises."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.training.distribution.processes import start_accelerator
from tests.forked import fork, ready_to_fork
from tests.forked_script import codes
from tests.helpers.training.distribution import spread
from tests.helpers.training.distribution.spread import (
    ANSWERS,
    CAPTIONS,
    LR,
    MODES,
    PREFIX,
    STEPS,
    Run,
    fixed_norms,
    held,
    inputs,
    new_model,
    share_of,
)

Found = list[dict[str, Any]]  # by process
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two processes found, see `spread.py`."""
    folder = tmp_path_factory.mktemp("spread")
    with ready_to_fork():
        assert codes(fork(partial(spread.main, folder), folder, ranks=2), 280) == [0, 0], (
            folder / "output_0"
        ).read_text()
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return [process | {"skipped": json.loads((folder / "skipped_steps.json").read_text())} for process in found]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """One process with all samples."""
    return Run(start_accelerator("no")).train()


def without_keys_bias(name: str, value: Tensor) -> Tensor:
    """Keys' biases have no gradient but rounding errors, which AdamW blows up to whole steps."""
    if name.endswith("in_proj_bias"):
        query, _, values = value.chunk(3)
        return torch.cat([query, values])
    return value[:0] if name.endswith("key.bias") else value


@every_mode
def test_losses_are_those_of_one_process(found, alone, mode):
    for process in found:
        # Rounding errors grow from step to step.
        assert process[mode]["losses"][:5] == pytest.approx(alone["losses"][:5], rel=1e-6)
        assert process[mode]["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert process[mode]["norms"] == pytest.approx(alone["norms"], rel=1e-3)
    assert alone["losses"][-1] < 0.8 * alone["losses"][0]


@every_mode
def test_weights_and_running_statistics_are_those_of_one_process(found, alone, mode):
    weights = found[0][mode]["weights"]
    assert weights.keys() == alone["weights"].keys()
    for name, wanted in alone["weights"].items():
        assert weights[name].dtype == wanted.dtype
        value, wanted = without_keys_bias(name, weights[name]), without_keys_bias(name, wanted)
        # Some gradients are little more than rounding errors: a hundredth of AdamW's way may be theirs.
        way = LR * STEPS * math.sqrt(wanted.numel())
        assert (value - wanted).double().norm() <= 1e-4 * wanted.double().norm() + way / 100, name


def test_memory_of_each_mode(found):
    model = new_model()
    model.freeze("freeze_lang_vision")
    whole = held(model.parameters())
    training = held(p for p in model.parameters() if p.requires_grad)
    blocks = held(p for block in model.blocks() for p in block.parameters())
    shards = {"parameters": whole / 2, "gradients": training / 2, "moments": training}
    expected = {
        "ddp": {"parameters": whole, "gradients": training, "moments": 2 * training},
        "zero2": shards | {"parameters after forward": whole, "parameters after backward": whole / 2},
        "zero3": shards | {"parameters after forward": whole - blocks / 2},
        "zero2, bf16": shards | {"parameters after forward": whole - blocks / 2},  # gathered in bfloat16
    }
    for process in found:
        for mode, sizes in expected.items():
            for name, size in sizes.items():
                # A parameter of an odd length is not split in halves.
                assert process[mode]["memory"][name] == pytest.approx(size, rel=1e-3), (mode, name)


@every_mode
def test_what_trains_is_float32_and_tied_weights_stay_tied(found, mode):
    assert set(found[0][mode]["dtypes"]) == {torch.float32}
    assert found[0][mode]["tied"]


@every_mode
def test_the_model_speaks_as_it_does_on_one_process(found, mode):
    for rank, process in enumerate(found):
        model = new_model().eval()
        model.load_state_dict(found[0][mode]["weights"])
        images, _ = inputs(model.config, 0, share_of(rank, 2))
        assert process[mode]["use"]["captions"] == model.generate(images, PREFIX)
        scores = model.rank(images, ANSWERS, k=2, prefix=PREFIX).scores
        torch.testing.assert_close(process[mode]["use"]["scores"], scores, rtol=1e-4, atol=1e-4)


@every_mode
def test_a_step_is_skipped_on_all_processes_when_one_has_no_finite_loss(found, mode):
    for process in found:
        assert not torch.isfinite(torch.tensor(process[mode]["skip"]["norm"]))
        assert process[mode]["skip"]["kept"]
        assert process[mode]["skip"]["went on"]


def test_both_processes_stop_after_too_many_and_the_samples_of_both_are_named(found):
    for process in found:
        assert "skipped_steps.json" in process["stop"]
        assert process["skipped"] == [{"step": 7, "samples": ["a", "b"]}]


@every_mode
def test_uneven_batches_of_all_processes_accumulate_to_the_gradient_of_one(found, mode):
    run = fixed_norms(Run(start_accelerator("no"), max_grad_norm=1.0))
    whole = [run.step(step, slice(0, len(CAPTIONS))) for step in range(2)]
    for process in found:
        for accumulated, expected in zip(process[mode]["accumulated"], whole, strict=True):
            assert accumulated == pytest.approx(expected, rel=1e-5)


def test_scaling_compiling_and_checkpointing_change_nothing(found, alone):
    for process in found:
        assert process["everything"]["losses"] == pytest.approx(alone["losses"][:3], rel=1e-6)
        assert process["everything"]["norms"] == pytest.approx(alone["norms"][:3], rel=1e-5)
        assert process["everything"]["skip"]["kept"]
        assert process["everything"]["scale"] == 2.0**9  # halved once, on both
        assert process["offloaded"]["losses"] == pytest.approx(alone["losses"][:3], rel=1e-6)  # by DDP
        assert process["offloaded"]["norms"] == pytest.approx(alone["norms"][:3], rel=1e-5)


def test_bfloat16_sharded_learns_what_it_does_unsharded(found, alone):
    ddp, sharded = (found[0][f"{mode}, bf16"] for mode in ("ddp", "zero2"))
    assert ddp["losses"] != alone["losses"][:3]
    assert sharded["losses"] == pytest.approx(ddp["losses"], rel=2e-3)
    assert sharded["norms"] == pytest.approx(ddp["norms"], rel=1e-2)
    for name, value in sharded["weights"].items():
        assert value.dtype == ddp["weights"][name].dtype  # float32 ones are saved


def test_running_statistics_are_averaged(found):
    for process in found:
        mean, variance = process["statistics"]
        assert mean.tolist() == [0.5, 0.5]
        assert variance.tolist() == [3.5, 3.5]
