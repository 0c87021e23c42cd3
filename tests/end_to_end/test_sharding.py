"""Two processes on the CPU (gloo): DDP, ZeRO-2 and ZeRO-3 train to the same weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.saving.folders import find_checkpoints
from helpers.saving.sharded_tensors import read_whole
from helpers.saving.training_state import OPTIMIZER, load_progress
from tests.end_to_end.conftest import script, write_caption_config, write_config


def train(scenes: Path, work: Path, *flags: str) -> Path:
    """One epoch with two processes; the experiment's folder."""
    work.mkdir()
    config = write_caption_config(work / "caption.yaml", scenes, max_epoch=1, metrics=["cider"])
    arguments = ("train_caption.py", "--exp_name", "tiny", "--config", config, *flags)
    done = script(*arguments, cwd=work, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("global batch 20") == 1  # only the main process prints
    return work / "logging" / "caption_tiny"


@pytest.fixture(scope="module")
def ddp(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(scenes, tmp_path_factory.mktemp("ddp") / "work")


@pytest.mark.parametrize("flag", ["--shard_grad_op", "--full_shard"])
def test_sharding_does_not_change_what_is_learned(ddp, scenes, tmp_path, flag):
    sharded = train(scenes, tmp_path / "work", flag)
    expected = load_file(ddp / "model.safetensors")
    for key, value in load_file(sharded / "model.safetensors").items():
        # Keys' biases have no gradient but rounding errors, which AdamW blows up to whole steps.
        if not key.endswith(("key.bias", "in_proj_bias")):
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4, msg=key)
    captions = [json.loads((run / "results/coco_epoch_1.json").read_text()) for run in (ddp, sharded)]
    assert [row["image_id"] for row in captions[0]] == [row["image_id"] for row in captions[1]]


def test_every_image_is_captioned_once(ddp):
    results = json.loads((ddp / "results" / "coco_epoch_1.json").read_text())
    assert [row["image_id"] for row in results] == [1000000, 1000001, 1000002, 1000003]


def test_a_sharded_run_goes_on_from_its_checkpoint(scenes, tmp_path):
    folder = train(scenes, tmp_path / "work", "--full_shard")
    config = write_caption_config(tmp_path / "work" / "caption.yaml", scenes, max_epoch=2, metrics=["cider"])
    done = script(
        *("train_caption.py", "--exp_name", "tiny", "--config", config, "--from_checkpoint", "--full_shard"),
        cwd=tmp_path / "work",
        processes=2,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    newest = find_checkpoints(folder)[0]
    assert load_progress(newest).epoch == 2
    optimizer = read_whole(newest, OPTIMIZER)
    steps = {float(value) for name, value in optimizer.items() if name.endswith(".step")}
    assert steps == {6.0}  # three steps an epoch, in both runs


def test_answers_of_a_sharded_model_are_those_of_one_process(scenes, tmp_path):
    """Processes write answers of different lengths: a gather in each step would hang."""
    changes = {"inference": "generate", "from_scratch": True, "max_epoch": 1, "batch_size_test": 1}
    config = write_config(tmp_path / "vqa.yaml", scenes, data_path=str(scenes), **changes)
    arguments = ("train_vqa.py", "--exp_name", "tiny", "--config", config)
    done = script(*arguments, "--full_shard", cwd=tmp_path, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    done = script(*arguments, "--from_checkpoint", "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "logging" / "vqa_tiny" / "results"
    sharded, alone = (json.loads((results / f"vqa_{name}.json").read_text()) for name in ("epoch_1", "test"))
    assert len(alone) == 40
    assert sharded == alone
