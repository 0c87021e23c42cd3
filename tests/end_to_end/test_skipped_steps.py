"""A run whose loss or weights are no longer finite stops, and says why."""

import json

from tests.end_to_end.conftest import write_caption_config
from tests.forked_script import forked_script


def test_a_run_that_cannot_go_on_names_the_samples(scenes, tmp_path):
    changes = {"init_lr": 1e30, "warmup_steps": 0, "batch_size_train": 2, "accumulate_steps": 2}
    config = write_caption_config(
        tmp_path / "caption.yaml",
        scenes,
        **changes,
        max_skipped_steps=2,
        max_grad_norm=1.0,
        activation_checkpointing="offload",
        sync_batchnorm=True,
    )
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "global batch 4, 30 steps" in done.stdout
    assert done.stdout.count("its loss or gradient is not finite") == 2
    *_, message = done.stderr.splitlines()
    assert message.startswith("error: 2 steps in a row had a loss or gradient that is not finite; lower init_lr")
    assert message.endswith("logging/caption_tiny/skipped_steps.json")
    assert "Traceback" not in done.stderr
    steps = json.loads((tmp_path / "logging" / "caption_tiny" / "skipped_steps.json").read_text())
    assert [step["step"] for step in steps] == [2, 3]
    assert [len(step["samples"]) for step in steps] == [4, 4]
    names = {name for step in steps for name in step["samples"]}
    listed = json.loads((scenes / "coco_karpathy_train.json").read_text())
    assert names <= {f"vqav2/{row['image'].removesuffix('.jpg')}" for row in listed}


def test_weights_that_are_not_finite_are_not_kept(scenes, tmp_path):
    changes = {
        "init_lr": 1e38,
        "warmup_steps": 0,
        "batch_size_train": 12,
        "max_epoch": 1,
        "max_skipped_steps": 20,
    }
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes, experts="none")
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: after step 5 the weights are no longer finite")
    experiment = tmp_path / "logging" / "caption_tiny"
    assert not list(experiment.glob("**/*.safetensors"))
