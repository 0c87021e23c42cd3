"""The ablation: what is trained, what is not trained again, and what it tells."""

import json
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from common.errors import UserError
from nano import ablation


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nano.ablation", *flags])
    ablation.main()


def test_what_has_a_result_is_not_trained_again(folder, monkeypatch, capsys):
    trained = []

    def train(one: ablation.Run, batch_size: int) -> int:
        trained.append(one.name)
        if one.variant == "without_edge":
            return 1
        one.result.write_text(json.dumps({"CIDEr": 1.0 + one.seed, "object": 50.0}))
        return 0

    monkeypatch.setattr(ablation, "train", train)
    flags = ("--only", "experts_0", "without_edge", "--seeds", "2", "--steps", "1")
    for _ in range(2):
        with pytest.raises(UserError, match="without_edge_seed0_steps1, without_edge_seed1_steps1: failed"):
            command(monkeypatch, *flags)
    assert [name for name in trained if name.startswith("experts")] == [
        "experts_0_seed0_steps1",
        "experts_0_seed1_steps1",
    ]
    assert trained.count("without_edge_seed0_steps1") == 2
    assert "| experts_0 | 2 | 1.50 (1.00 to 2.00) | 50.00 (50.00 to 50.00) |  |" in capsys.readouterr().out
    assert Image.open("logging/ablation/ablation.png").width > 100
    config = yaml.safe_load((folder / "logging/ablation/experts_0_seed0_steps1.yaml").read_text())["coco"]
    assert config["experts"] == "none"


def test_an_unknown_variant_is_named(folder, monkeypatch):
    with pytest.raises(UserError, match="unknown variant 'seven'; known: experts_0"):
        command(monkeypatch, "--only", "seven")


def test_spoilt_labels(folder):
    for expert in ("depth", "edge"):
        (folder / "labels" / expert / "vqav2").mkdir(parents=True)
    for number in range(40):
        grey = Image.new("L", (6, 4), 7)
        grey.save(folder / "labels" / "depth" / "vqav2" / f"{number:02d}.png")
    for _ in range(2):  # the second time all is there
        ablation.spoil(folder / "labels", folder / "spoilt", 0.5)
    labels = [np.asarray(Image.open(path)) for path in sorted((folder / "spoilt/depth/vqav2").iterdir())]
    assert all(label.shape == (4, 6) for label in labels)
    assert 10 < sum(bool((label != 7).any()) for label in labels) < 30
    assert (folder / "spoilt/edge/vqav2").is_dir()
