"""Activations."""

import pytest
import torch

from model.modules.mlp import squared_relu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squared_relu_is_to_the_bit_what_a_power_is(dtype):
    """The original's, and its gradient; both computed in float32, as autocast on a GPU would the power."""
    torch.manual_seed(0)
    x, gradient = torch.randn(1000).to(dtype), torch.randn(1000).to(dtype)

    ours = x.clone().requires_grad_()
    product = squared_relu(ours)
    product.backward(gradient)

    wanted = x.clone().requires_grad_()
    power = torch.relu(wanted).float().pow(2).to(dtype)
    power.backward(gradient)

    assert product.dtype == dtype
    assert torch.equal(product, power)
    assert torch.equal(ours.grad, wanted.grad)
