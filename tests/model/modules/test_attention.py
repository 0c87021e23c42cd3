"""Our attention is torch's, with less memory."""

import pytest
import torch
from torch import nn

from model.modules.attention import Attention


@pytest.mark.parametrize("cross", [False, True])
def test_equals_torch_multihead_attention(cross):
    torch.manual_seed(0)
    ours = Attention(32, 4)
    nn.init.normal_(ours.in_proj_bias)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())  # the same keys
    x, context = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    source = context if cross else x
    expected, _ = theirs(x, source, source)
    torch.testing.assert_close(ours(x, context if cross else None), expected)
