"""train_classification.py, run in forked processes, on scenes of one solid."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import write_config
from tests.forked_script import forked_script


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images and a test image of each of the 32 classes."""
    folder = tmp_path_factory.mktemp("classes")
    flags = ("--train", "2", "--test", "1", "--seed", "5", "--size", "64", "--workers", "1")
    done = forked_script("nano/scenes/__main__.py", "--classes", "--out", folder, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def config_for(classes: Path, work: Path, **changes: object) -> Path:
    defaults = {
        "data_path": str(classes),
        "shots": 1,
        "from_scratch": True,
        "batch_size_train": 16,
        "batch_size_test": 16,
        "k_test": 5,
    }
    return write_config(work / "classification.yaml", classes, **{**defaults, **changes})


def test_it_trains_and_evaluates(classes, tmp_path):
    arguments = ("train_classification.py", "--exp_name", "tiny", "--config", config_for(classes, tmp_path))
    done = forked_script(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "32 samples, global batch 16, 4 steps" in done.stdout
    folder = tmp_path / "logging" / "classification_tiny"
    results = json.loads((folder / "results" / "imagenet_epoch_2.json").read_text())
    assert not (folder / "results" / "imagenet_epoch_1.json").exists()  # evaluated every 5 epochs, and last
    assert {row["class"] for row in results} == set(range(32))
    assert all(len(set(row["predicted"])) == 5 for row in results)
    scores = json.loads((folder / "results" / "imagenet_epoch_2_scores.json").read_text())
    assert scores["top1"] == sum(row["class"] == row["predicted"][0] for row in results) / 32

    done = forked_script(*arguments, "--from_checkpoint", "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "results" / "imagenet_test.json").read_text()) == results


def test_a_mistake_is_one_line(classes, tmp_path):
    config = config_for(classes, tmp_path, shots=3)
    done = forked_script("train_classification.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "2 images, fewer than 'shots' (3)" in done.stderr
    assert done.stderr.count("\n") == 1
