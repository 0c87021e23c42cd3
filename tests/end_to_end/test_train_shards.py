"""Pre-training from shards over HTTP, killed and gone on with, beside the same from a folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.file_server import FileServer
from dataset.shards.pack import pack
from tests.end_to_end.conftest import ROOT, assert_same_weights, script, write_config

LOGGED = "tests/end_to_end/log_samples.py"
ARGUMENTS = (LOGGED, "train_pretrain.py", "--exp_name", "tiny")
SAVE_EVERY, KILL_AFTER = 2, 5  # steps, of six in an epoch


def config_for(folder: Path, scenes: Path, data_path: object, workers: int) -> Path:
    folder.mkdir()
    return write_config(
        folder / "pretrain.yaml",
        scenes,
        coco_data_path=str(data_path),
        label_path=f"{data_path}/labels",
        test_dataset=None,
        batch_size_train=1,
        num_workers=workers,
        save_every_steps=SAVE_EVERY,
    )


def kill_after_steps(steps: int, arguments: tuple, cwd: Path) -> None:
    """Starts a training in two processes, and kills both when the first has done so many steps."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": ""}
    with (cwd / "killed.log").open("w") as log:
        running = subprocess.Popen(
            [*command, str(ROOT / arguments[0]), *map(str, arguments[1:])],
            cwd=cwd,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while min(len(noted(cwd, rank)) for rank in range(2)) < steps:
                assert running.poll() is None, (cwd / "killed.log").read_text()
                time.sleep(0.02)
        finally:
            # Each process has a group of its own.
            for process in (
                running.pid,
                *(record[-1]["process"] for rank in range(2) if (record := noted(cwd, rank))),
            ):
                os.kill(process, signal.SIGKILL)
            running.wait()


def noted(folder: Path, rank: int) -> list[dict]:
    file = folder / f"samples_{rank}.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def losses(folder: Path) -> list[float]:
    lines = (folder / "logging/pretrain_tiny/metrics.jsonl").read_text().splitlines()
    return [record["train_loss"] for record in map(json.loads, lines) if "train_loss" in record]


def test_killed_and_resumed_every_sample_counts_once(scenes: Path, tmp_path: Path) -> None:
    pack(scenes, scenes / "labels", tmp_path / "shards", dataset="vqav2", shard_size=2)
    streamed, plain = tmp_path / "streamed", tmp_path / "plain"
    with FileServer(tmp_path / "shards") as server:
        server.faults = {"vqav2/00001.tar": [503, "cut"], "labels/depth/vqav2/00002.tar": [429]}
        arguments = (*ARGUMENTS, "--config", config_for(streamed, scenes, server.url, workers=2))
        kill_after_steps(KILL_AFTER, arguments, streamed)
        killed = {rank: noted(streamed, rank) for rank in range(2)}
        done = script(*arguments, "--from_checkpoint", cwd=streamed, processes=2)
        assert done.returncode == 0, done.stderr
        assert not any(server.faults.values())
        ranges = [span for path, span in server.requests if path.endswith(".tar")]
        assert None not in ranges

    steps: dict[tuple[int, int], dict] = {}  # by process and step; those done again replace what was lost
    for rank in range(2):
        for record in noted(streamed, rank):
            steps[rank, record["step"]] = record
        again = [record["step"] for record in noted(streamed, rank)[len(killed[rank]) :]]
        assert again[0] % SAVE_EVERY == 1  # from the newest checkpoint on
        assert again == list(range(again[0], 13))
        for record in killed[rank]:  # those done again have the same samples
            assert steps[rank, record["step"]]["images"] == record["images"]
    for epoch in range(2):
        read = Counter(
            image for record in steps.values() if record["epoch"] == epoch for image in record["images"]
        )
        assert set(read.values()) == {1}
        assert len(read) == 12

    done = script(
        *ARGUMENTS, "--config", config_for(plain, scenes, scenes, workers=0), cwd=plain, processes=2
    )
    assert done.returncode == 0, done.stderr
    assert losses(plain) == losses(streamed)
    assert_same_weights(plain / "logging/pretrain_tiny", streamed / "logging/pretrain_tiny")
