"""A run whose loss or weights are no longer finite stops, and says why."""

from pathlib import Path
from subprocess import CompletedProcess

from tests.end_to_end.conftest import read_json, write_caption_config
from tests.forked_script import forked_script

EXPERIMENT = Path("logging/caption_tiny")


def train_into_failure(scenes: Path, work: Path, **changes: object) -> CompletedProcess:
    config = write_caption_config(work / "caption.yaml", scenes, warmup_steps=0, **changes)
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=work)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_run_that_cannot_go_on_names_the_samples(scenes, tmp_path):
    changes = {"init_lr": 1e30, "batch_size_train": 2, "accumulate_steps": 2, "max_skipped_steps": 2}
    changes |= {"max_grad_norm": 1.0, "activation_checkpointing": "offload", "sync_batchnorm": True}
    done = train_into_failure(scenes, tmp_path, **changes)
    assert "global batch 4, 30 steps" in done.stdout
    assert done.stdout.count("its loss or gradient is not finite") == 2
    message = done.stderr.splitlines()[-1]
    assert message.startswith("error: 2 steps in a row had a loss or gradient that is not finite; lower init_lr")
    assert message.endswith("logging/caption_tiny/skipped_steps.json")
    steps = read_json(tmp_path / EXPERIMENT / "skipped_steps.json")
    assert [step["step"] for step in steps] == [2, 3]
    assert [len(step["samples"]) for step in steps] == [4, 4]
    listed = {f"vqav2/{row['image'].removesuffix('.jpg')}" for row in read_json(scenes / "coco_karpathy_train.json")}
    assert {name for step in steps for name in step["samples"]} <= listed


def test_weights_that_are_not_finite_are_not_kept(scenes, tmp_path):
    done = train_into_failure(scenes, tmp_path, init_lr=1e38, batch_size_train=12, max_epoch=1, experts="none")
    assert done.stderr.splitlines()[-1].startswith("error: after step 5 the weights are no longer finite")
    assert not list((tmp_path / EXPERIMENT).glob("**/*.safetensors"))
