"""A small set of scenes, and running scripts as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def script(*args: object, cwd: Path, processes: int = 1, timeout: int = 300) -> subprocess.CompletedProcess:
    """Runs a script of the project, on the CPU, from a folder of the test's own."""
    path, *rest = map(str, args)
    # torchrun, since `accelerate launch` starts several processes on a CPU only through MPI.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), str(ROOT / path), *rest]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    environment["ACCELERATE_USE_CPU"] = "true"
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes to train on and four to test on, with exact labels, in COCO's layout."""
    folder = tmp_path_factory.mktemp("scenes")
    command = [sys.executable, "-m", "dataset.scenes", "--out", str(folder)]
    command += ["--train", "12", "--test", "4", "--seed", "5", "--size", "96", "--workers", "1"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def caption_config(scenes: Path, tmp_path: Path) -> Path:
    """A config that trains the nano model for two epochs on the small set."""
    return write_caption_config(tmp_path / "caption.yaml", scenes)


def write_caption_config(path: Path, scenes: Path, **changes: object) -> Path:
    """The nano config for a folder of scenes with exact labels, with changes."""
    content = yaml.safe_load((ROOT / "configs" / "caption_nano.yaml").read_text())
    content["coco"] |= {
        "data_path": str(scenes),
        "label_path": str(scenes / "labels"),
        "class_tables": str(ROOT / "nano" / "tables"),
        "init_lr": 1e-3,
        "min_lr": 0.0,
        "augment": True,
        "captions_per_image": 1,
        "batch_size_train": 10,
        "batch_size_test": 3,
        "max_epoch": 2,
        "warmup_steps": 2,
        "max_length": 16,
        "num_beams": 2,
        "num_workers": 0,
    }
    content["coco"] |= changes
    path.write_text(yaml.safe_dump(content))
    return path
