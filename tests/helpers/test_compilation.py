"""Compiled blocks give what they gave before, and all vision layers share one compilation."""

from dataclasses import replace
from functools import partial

import torch
from torch._dynamo.utils import counters

from helpers.parallel.compilation import compile_blocks
from model.captioning import PrismerCaption
from model.tokenizer import load_tokenizer
from tests.model import tiny


def test_compiled_blocks(monkeypatch):
    # Without generating C++, which takes half a minute; what is traced and shared is the same.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    config = replace(tiny.CONFIG, vision=replace(tiny.CONFIG.vision, layers=3))
    model, images = PrismerCaption(config, load_tokenizer(tiny.TOKENIZER)), tiny.images(2)
    expected, keys = model.expert_encoder(images), list(model.state_dict())
    counters.clear()
    compile_blocks(model)
    torch.testing.assert_close(model.expert_encoder(images), expected)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert list(model.state_dict()) == keys
