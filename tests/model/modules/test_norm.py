"""LayerNorm keeps float32 inside."""

import pytest
import torch

from model.modules.norm import LayerNorm


@pytest.mark.parametrize("half_weights", [False, True])
def test_computes_in_float32(half_weights):
    torch.manual_seed(0)
    x = (1000 + torch.randn(4, 64)).bfloat16()  # bfloat16 cannot tell these from their mean
    norm = LayerNorm(64)
    expected = torch.nn.functional.layer_norm(x.float(), (64,)).bfloat16()
    if half_weights:
        norm.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0.01, atol=0.01)
