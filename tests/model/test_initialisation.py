"""New weights: the scales that the configuration asks for."""

from dataclasses import replace

import pytest
import torch

from model.decoder import TextDecoder
from model.modules.resampler import Resampler
from tests.model import tiny


@pytest.mark.parametrize(("given", "expected"), [(None, 256**-0.5), (1.0, 1.0)])
def test_latents(given, expected):
    torch.manual_seed(0)
    assert Resampler(256, given).latents.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_text_tower(std):
    torch.manual_seed(0)
    decoder = TextDecoder(replace(tiny.CONFIG, text=replace(tiny.CONFIG.text, initializer_range=std)))
    for name, parameter in decoder.named_parameters():
        if parameter.ndim == 2 and min(parameter.shape) > 1:
            assert parameter.std().item() == pytest.approx(std, rel=0.1), name
