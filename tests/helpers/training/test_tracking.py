"""Trackers get what metrics.jsonl gets, without a network; the meter's arithmetic."""

import json
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.errors import UserError
from helpers.training import tracking
from helpers.training.distribution.processes import start_accelerator
from tests.forked import fork, ready_to_fork
from tests.forked_script import codes


def log_in_fork(tracker: str, work: Path, resumed_at: int | None = None) -> None:
    """A run with a tracker, in a forked process."""

    def log() -> None:
        folder = Path("logging/caption_tiny")
        accelerator = start_accelerator(None, tracker=tracker, folder=folder)
        settings = {"init_lr": 0.25, "experts": ["depth"], "label_path": Path("labels")}
        run = tracking.Tracking(accelerator, folder, settings, resumed_at=resumed_at)
        for step in (50, 100):
            run.log({"loss": 10 / step}, step)
        run.finish()

    with ready_to_fork():
        assert codes(fork(log, work)) == [0], (work / "output_0").read_text()


def test_wandb_offline_a_resumed_run_is_the_same_one_and_a_new_one_is_not(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, ids = tmp_path / "logging/caption_tiny/wandb", []
    for resumed_at in (None, 50, None):
        log_in_fork("wandb", tmp_path, resumed_at)
        ids.append((folder / "run_id").read_text().strip())
    assert ids[0] == ids[1] != ids[2]
    # wandb adds a number to the name of what began within the same second.
    written = sorted(path.read_bytes() for path in folder.glob("offline-run-*/run-*.wandb"))
    assert [sum(name.encode() in content for content in written) for name in ids] == [2, 2, 1]
    for content in written:
        assert all(text in content for text in (b"caption_tiny", b"init_lr", b"loss", b"0.1"))


def test_trackio_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # where it writes, it decides when it is imported
    pytest.importorskip("trackio")
    log_in_fork("trackio", tmp_path)
    with sqlite3.connect(tmp_path / "trackio" / "prismer.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    expected = [("caption_tiny", 50, {"loss": 0.2}), ("caption_tiny", 100, {"loss": 0.1})]
    assert [(name, step, json.loads(metrics)) for name, step, metrics in rows] == expected
    lines = (tmp_path / "logging/caption_tiny/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"loss": 0.2}, {"loss": 0.1}]


def test_tensorboard_forgets_what_a_resumed_run_does_again(tmp_path):
    for resumed_at, steps in ((None, (50, 100, 150)), (50, (100,))):
        accelerator = start_accelerator(None, tracker="tensorboard", folder=tmp_path)
        run = tracking.Tracking(accelerator, tmp_path, {}, resumed_at=resumed_at)
        for step in steps:
            run.log({"loss": step + (resumed_at or 0)}, step)
        run.finish()
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in shown] == [(50, 50), (100, 150)]


def test_a_tracker_that_is_not_installed_or_does_not_start_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    tracking.check_tracker("tensorboard")
    tracking.check_tracker(None)
    with pytest.raises(UserError, match="--log_with trackio: is not installed; install it with: pip install trackio"):
        tracking.check_tracker("trackio")

    def refuse(*_args: object) -> None:
        raise RuntimeError("no API key,\n  log in first")

    accelerator = SimpleNamespace(log_with=["wandb"], is_main_process=True, init_trackers=refuse)
    with pytest.raises(UserError, match="--log_with wandb: does not start: no API key, log in first"):
        tracking.Tracking(accelerator, tmp_path, {}, resumed_at=None)


def test_speed_of_a_loop(monkeypatch):
    """Two steps of two batches of three samples, on two processes: 2 s waiting, 3 s computing each batch."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    accelerator = SimpleNamespace(num_processes=2, device=torch.device("cpu"))

    meter, read = tracking.Meter(accelerator), []
    meter.epoch_began(step=7)
    for number in range(4):
        clock.now += 2
        meter.batch_came(samples=3)
        clock.now += 3
        if number == 1:
            read.append(meter.recent(step=8))
        meter.batch_ended()
    meter.epoch_ended()
    read.append(meter.recent(step=9))
    clock.now += 1000  # an evaluation
    read.append(meter.epoch(step=9))
    for speed in read:
        assert 0.01 < speed.pop("rss_gib") < 100
    assert read[2].pop("train_seconds") == 20
    assert read == [{"samples_per_second": 1.2, "step_seconds": 10, "data_seconds": 4}] * 3
    meter.epoch_began(step=9)  # resumed at its end
    meter.epoch_ended()
    assert meter.epoch(step=9).keys() == {"train_seconds", "rss_gib"}
