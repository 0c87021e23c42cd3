"""BatchNorms over several processes, which are played by one."""

from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn

from helpers.training.distribution.batch_norm import synchronise_batch_norms
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import all_finite


@pytest.fixture(params=[2, 3])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many, which all have the same data."""
    monkeypatch.setattr(distributed, "get_world_size", lambda: request.param)
    monkeypatch.setattr(distributed, "all_reduce", lambda x: x.mul_(request.param))
    return request.param


def new_norm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.copy_(torch.randn(3, generator=torch.Generator().manual_seed(0)))
    return norm


@pytest.mark.parametrize("training", [True, False])
def test_normalises_with_the_samples_of_all_processes(processes, training):
    samples = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 5
    plain, ours = new_norm().train(training), new_norm().train(training)
    synchronise_batch_norms(nn.Sequential(ours), SimpleNamespace(num_processes=processes))
    outputs, gradients = [], []
    for norm, repeats in ((plain, processes), (ours, 1)):
        x = samples.repeat(repeats, 1, 1, 1).requires_grad_()
        out = norm(x)
        out.pow(3).sum().backward()
        outputs.append(out[:2])
        gradients.append(x.grad[:2])
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_half_precision_comes_back_and_one_process_keeps_its_norms(processes):
    alone, norm = new_norm(), new_norm()
    synchronise_batch_norms(nn.Sequential(alone), SimpleNamespace(num_processes=1))
    assert type(alone) is nn.BatchNorm2d
    synchronise_batch_norms(nn.Sequential(norm), SimpleNamespace(num_processes=processes))
    assert norm(torch.randn(2, 3, 4, 4).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["weight", "bias", "running_var"])
def test_weights_and_statistics_that_are_not_finite_are_found(name):
    accelerator, norm = start_accelerator("no"), new_norm()
    assert all_finite(nn.Sequential(norm), accelerator)
    with torch.no_grad():
        getattr(norm, name)[1] = torch.nan
    assert not all_finite(nn.Sequential(norm), accelerator)
