"""The encoder learns to carry words: what is trained, what stays, and what is refused."""

import sys

import pytest
import torch
from torch import nn

from dataset.scenes.embeddings import embed
from helpers.word_start import TEXT, main, teach
from model.config import PrismerConfig, TextConfig, VisionConfig
from model.encoder import ExpertEncoder
from model.errors import UserError
from model.inputs import PrepareInputs

CONFIG = PrismerConfig(
    VisionConfig(width=32, layers=1, heads=2, patch_size=8, latents_std=1.0),
    TextConfig(hidden_size=32, layers=1, heads=2, ffn_size=32, vocab_size=8),
    ("depth", TEXT),
    image_resolution=16,
    label_resolution=32,
)
WORDS = torch.stack([torch.from_numpy(embed(word)) for word in ("bread", "shop")])


def batch(words: bool = True) -> dict:
    """Six samples, of which the last has no word."""
    where = torch.full((6, 1, 32, 32), 255, dtype=torch.uint8)
    table = torch.zeros(6, 1, 64)
    if words:
        where[:5, :, 8:16, 8:24] = 0
        table[:5, 0] = WORDS[[0, 1, 0, 1, 1]]
    depth = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8)
    rgb = torch.zeros(6, 3, 16, 16, dtype=torch.uint8)
    return {"rgb": rgb, "labels": {"depth": depth, TEXT: where}, "tables": {TEXT: table}}


def test_only_the_text_stem_and_the_resampler_learn(capsys):
    torch.manual_seed(0)
    encoder = ExpertEncoder(CONFIG)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    teach(encoder, PrepareInputs(), [None, batch()], steps=50)
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"conv1", "resampler"}
    assert all(name.startswith((f"conv1.{TEXT}", "resampler")) for name in changed)
    assert all(
        not isinstance(layer, nn.BatchNorm2d) or layer.running_var.isfinite().all()
        for layer in encoder.modules()
    )
    assert "words read 100%" in capsys.readouterr().out


def test_labels_without_words_are_refused():
    with pytest.raises(UserError, match="no words"):
        teach(ExpertEncoder(CONFIG), PrepareInputs(), [batch(words=False)], steps=1)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nano/vqa_prismer_nano/", "holds the weights to start from; choose another folder"),
        ("nano/experts", "not written by helpers.word_start, or changed since; choose another folder, or "),
    ],
)
def test_weights_are_not_replaced(target, told, monkeypatch):
    arguments = ["nano/vqa_prismer_nano", target, "--config", "configs/caption_nano.yaml"]
    monkeypatch.setattr(sys, "argv", ["word_start", *arguments])
    with pytest.raises(UserError) as error:
        main()
    assert told in str(error.value)
