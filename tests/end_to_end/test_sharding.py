"""The scripts with two processes on the CPU (gloo): DDP, ZeRO-2 and ZeRO-3.

What each mode computes and keeps in memory: tests/helpers/training/distribution/test_sharding.py.
"""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from helpers.training.resume.folders import find_checkpoints
from helpers.training.resume.sharded_tensors import read_whole
from helpers.training.resume.training_state import OPTIMIZER, load_progress
from tests.end_to_end.conftest import read_json, train, write_caption_config, write_config
from tests.forked import ready_to_fork

# To train: torch shards an optimizer's step slowly, the more so the more parameters there are.
FEW = {"experts": ["depth"], "freeze": "freeze_lang_vision"}


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with ready_to_fork():
        yield


@pytest.fixture(scope="module")
def work(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one epoch was trained."""
    folder = tmp_path_factory.mktemp("ddp")
    done = train_two(scenes, folder, 1)
    assert done.stdout.count("global batch 20") == 1  # only the main process prints
    return folder


def train_two(scenes: Path, work: Path, epochs: int, *flags: str) -> CompletedProcess:
    config = write_caption_config(work / "caption.yaml", scenes, max_epoch=epochs, metrics=["cider"], **FEW)
    return train("caption", config, work, *flags, processes=2)


def test_every_image_is_captioned_once(work):
    results = read_json(work / "logging/caption_tiny/results/coco_epoch_1.json")
    assert [row["image_id"] for row in results] == [1000000, 1000001, 1000002, 1000003]


def test_a_run_goes_on_in_another_mode(scenes, work):
    train_two(scenes, work, 2, "--from_checkpoint", "--shard_grad_op")
    newest = find_checkpoints(work / "logging" / "caption_tiny")[0]
    assert load_progress(newest).epoch == 2
    optimizer = read_whole(newest, OPTIMIZER)
    steps = {float(value) for name, value in optimizer.items() if name.endswith(".step")}
    assert steps == {6.0}  # three steps an epoch, in both runs


def test_answers_of_a_sharded_model_are_those_of_one_process(scenes, tmp_path):
    """Processes write answers of different lengths: a gather in each step would hang."""
    changes = {"inference": "generate", "from_scratch": True, "max_epoch": 1, "batch_size_test": 1, **FEW}
    config = write_config(tmp_path / "vqa.yaml", scenes, data_path=str(scenes), **changes)
    train("vqa", config, tmp_path, "--full_shard", processes=2)
    train("vqa", config, tmp_path, "--from_checkpoint", "--evaluate")
    results = tmp_path / "logging" / "vqa_tiny" / "results"
    sharded, alone = (read_json(results / f"vqa_{name}.json") for name in ("epoch_1", "test"))
    assert len(alone) == 40
    assert sharded == alone
