"""Pre-training from shards over HTTP, killed and resumed, compared with training from a folder."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks.file_server import FileServer
from dataset.shards.pack import pack
from tests.end_to_end.conftest import assert_same_weights, read_json, write_config
from tests.forked import ready_to_fork
from tests.forked_script import forked_script

SAVE_EVERY, KILL_AFTER = 2, 5  # steps, of six in an epoch


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with ready_to_fork():
        yield


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
        experts=["depth", "obj_detection"],
        save_every_steps=SAVE_EVERY,
    )


def pretrain(config: Path, *flags: str, last: int = 0) -> CompletedProcess:
    """Trains in two processes, and kills them after so many steps."""
    arguments = ("tests/end_to_end/log_samples.py", last, "train_pretrain.py", "--exp_name", "tiny")
    return forked_script(*arguments, "--config", config, *flags, cwd=config.parent, processes=2)


def noted(folder: Path, rank: int) -> list[dict]:
    return read_json(folder / f"samples_{rank}.jsonl")


def losses(folder: Path) -> list[float]:
    records = read_json(folder / "logging/pretrain_tiny/metrics.jsonl")
    return [record["train_loss"] for record in records if "train_loss" in record]


def test_killed_and_resumed_every_sample_counts_once(scenes: Path, tmp_path: Path) -> None:
    pack(scenes, scenes / "labels", tmp_path / "shards", dataset="vqav2", shard_size=2)
    streamed, plain = tmp_path / "streamed", tmp_path / "plain"
    with FileServer(tmp_path / "shards") as server:
        server.faults = {"vqav2/00001.tar": [503, "cut"], "labels/depth/vqav2/00002.tar": [429]}
        config = config_for(streamed, scenes, server.url, workers=2)
        done = pretrain(config, last=KILL_AFTER)
        assert done.returncode != 0
        killed = {rank: noted(streamed, rank) for rank in range(2)}
        assert max(len(records) for records in killed.values()) == KILL_AFTER
        done = pretrain(config, "--from_checkpoint")
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
        read = Counter(image for record in steps.values() if record["epoch"] == epoch for image in record["images"])
        assert set(read.values()) == {1}
        assert len(read) == 12

    done = pretrain(config_for(plain, scenes, scenes, workers=0))
    assert done.returncode == 0, done.stderr
    assert losses(plain) == losses(streamed)
    assert_same_weights(plain / "logging/pretrain_tiny", streamed / "logging/pretrain_tiny")
