"""A small set of scenes, and running scripts as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
import yaml

from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.resume.folders import find_checkpoints
from tests.forked_script import forked_script

ROOT = Path(__file__).resolve().parents[2]


def script(*args: object, cwd: Path) -> CompletedProcess:
    """Runs a script of the project, on the CPU, from a folder of the test's own."""
    path, *rest = map(str, args)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, str(ROOT / path), *rest]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def train(task: str, config: Path, cwd: Path, *flags: object, name: str = "tiny", **options: int) -> CompletedProcess:
    """Runs a training script in forked processes, and checks that it succeeds; `forked_script`'s options."""
    done = forked_script(f"train_{task}.py", "--exp_name", name, "--config", config, *flags, cwd=cwd, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def read_json(path: Path) -> Any:
    """The content of a JSON file; of a file of JSON lines, a list."""
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def newest_weights(experiment: Path) -> dict[str, torch.Tensor]:
    """Those in the newest checkpoint of an experiment's folder."""
    return read_weights(find_weights(find_checkpoints(experiment)[0]))


def assert_same_weights(experiment: Path, expected: Path) -> None:
    """That the newest weights of two experiments are equal to the bit."""
    found, wanted = newest_weights(experiment), newest_weights(expected)
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        assert torch.equal(value, wanted[key]), key


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes to train on and four to test on, with exact labels, in COCO's layout."""
    folder = tmp_path_factory.mktemp("scenes")
    flags = ("--train", "12", "--test", "4", "--seed", "5", "--size", "96", "--workers", "1")
    done = forked_script("nano/scenes/__main__.py", "--out", folder, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def write_caption_config(path: Path, scenes: Path, **changes: object) -> Path:
    """The nano config for a folder of scenes with exact labels, two epochs, with changes."""
    content = {"data_path": str(scenes), "captions_per_image": 1, "max_length": 16, "num_beams": 2}
    return write_config(path, scenes, section="coco", **content | changes)


def write_config(path: Path, scenes: Path, section: str | None = None, **changes: object) -> Path:
    """The nano config of a task (the file's name) for a folder with exact labels, with changes."""
    content = yaml.safe_load((ROOT / "configs" / f"{path.stem}_nano.yaml").read_text())
    settings = content[section] if section else content
    settings |= {
        "label_path": str(scenes / "labels"),
        "class_tables": str(ROOT / "nano" / "tables"),
        "image_resolution": 32,
        "label_resolution": 32,
        "init_lr": 1e-3,
        "min_lr": 0.0,
        "augment": True,
        "batch_size_train": 10,
        "batch_size_test": 3,
        "max_epoch": 2,
        "warmup_steps": 2,
        "num_workers": 0,
    }
    settings |= changes
    path.write_text(yaml.safe_dump(content))
    return path
