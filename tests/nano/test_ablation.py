"""The ablation: which variants are trained, which are not repeated, and what it reports."""

import json
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from common.errors import UserError
from nano import ablation


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*flags: str) -> None:
        monkeypatch.setattr(sys, "argv", ["nano.ablation", *flags])
        ablation.main()

    return run


def test_runs_with_a_result_are_not_repeated(command, monkeypatch, capsys):
    trained = []

    def train(one: ablation.Run, batch_size: int) -> int:
        trained.append((one.variant, one.seed))
        if one.variant == "without_edge":
            return 1
        one.file(".json").write_text(json.dumps({"CIDEr": 1.0 + one.seed, "object": 50.0}))
        return 0

    monkeypatch.setattr(ablation, "train", train)
    for _ in range(2):
        with pytest.raises(UserError, match="without_edge_seed0_steps1, without_edge_seed1_steps1: failed"):
            command("--only", "experts_0", "without_edge", "--seeds", "2", "--steps", "1")
    assert [trained.count((name, 0)) for name in ("experts_0", "without_edge")] == [1, 2]
    assert "| experts_0 | 2 | 1.50 (1.00 to 2.00) | 50.00 (50.00 to 50.00) |  |" in capsys.readouterr().out
    assert Image.open("logging/ablation/ablation.png").width > 100
    config = yaml.safe_load(ablation.Run("experts_0", 0, 1).file(".yaml").read_text())["coco"]
    assert config["experts"] == "none"
    with pytest.raises(UserError, match="unknown variant 'seven'; known: experts_0"):
        command("--only", "seven")


def test_noisy_labels(tmp_path):
    for expert in ("depth", "edge"):
        (tmp_path / "labels" / expert / "vqav2").mkdir(parents=True)
    for number in range(40):
        Image.new("L", (6, 4), 7).save(tmp_path / "labels" / "depth" / "vqav2" / f"{number:02d}.png")
    for _ in range(2):  # the second time all are there
        ablation.write_noisy_labels(tmp_path / "labels", tmp_path / "noisy", 0.5)
    labels = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "noisy/depth/vqav2").iterdir())]
    assert all(label.shape == (4, 6) for label in labels)
    assert 10 < sum(bool((label != 7).any()) for label in labels) < 30
    assert (tmp_path / "noisy/edge/vqav2").is_dir()
