"""Attribution as a file and as a picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.figures.attribution_picture import ROW, draw_attribution
from helpers.figures.drawing import modality_colour
from helpers.inference.attribution_file import AttributedText, attribution_file, read_attribution, write_attribution
from model.attribution import Attribution

NAMES = ("rgb", "depth", "obj_detection")


@pytest.fixture
def attribution() -> Attribution:
    generator = torch.Generator().manual_seed(0)
    mass = torch.rand(4, 3 * 4, generator=generator)  # four words, 2 x 2 tokens
    mass = (mass / mass.sum(dim=1, keepdim=True)).view(4, 3, 2, 2)
    log_probs = -torch.rand(4, generator=generator)
    return Attribution(
        words=("a", "café", "<b>", "word-of-uncommonly-great-length"),
        log_probs=log_probs,
        tokens={name: mass[:, index] for index, name in enumerate(NAMES)},
        latents=torch.rand(4, 64, generator=generator),
        without={"depth": log_probs - 2, "obj_detection": log_probs + 0.5},
    )


def test_comes_back_from_a_file_with_four_digits(attribution, tmp_path):
    path = attribution_file(tmp_path, "photos/a.b")
    assert read_attribution(path) is None
    exact = torch.tensor([-1.23456, -0.000123456, -1234.56, -1.0])
    attribution = replace(attribution, log_probs=exact, without={"depth": exact - 2})
    write_attribution(path, AttributedText("Café.", "What is it?", attribution))
    told = read_attribution(path)
    assert (told.text, told.question, told.attribution.words) == ("Café.", "What is it?", attribution.words)
    for name in ("log_probs", "latents"):
        torch.testing.assert_close(getattr(told.attribution, name), getattr(attribution, name), rtol=1e-3, atol=0)
    for name in ("tokens", "masses", "effects"):
        found, wanted = getattr(told.attribution, name), getattr(attribution, name)
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-3)
    content = json.loads(path.read_text())
    assert content["log_probs"] == [-1.235, -0.0001235, -1235, -1]
    assert np.shape(content["tokens"]["rgb"]) == (4, 2, 2)


@pytest.mark.parametrize("width", [640, 1240])
def test_bars_are_as_long_as_the_mass(attribution, width):
    picture = draw_attribution(attribution, width)
    assert picture.width == width
    fill = modality_colour("depth")
    rows = [
        sum(picture.getpixel((x, y)) == fill for x in range(width))
        for y in range(picture.height)
        if y > 60  # below the legend
    ]
    bars = [max(rows[start : start + ROW]) for start in range(32, 32 + 4 * ROW, ROW)]
    lengths = torch.tensor(bars, dtype=torch.float32)
    wanted = attribution.masses["depth"]
    torch.testing.assert_close(lengths / lengths.sum(), wanted / wanted.sum(), rtol=0, atol=0.04)


def test_without_experts_there_is_no_table(attribution):
    alone = Attribution(attribution.words, attribution.log_probs, {"rgb": torch.ones(4, 1, 1)}, torch.zeros(4, 0), {})
    assert draw_attribution(alone).height == draw_attribution(attribution).height - ROW
