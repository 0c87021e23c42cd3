"""Signals, lost processes, full disks, damaged checkpoints, two runs at once: nothing is lost."""

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from torch.distributed import run as launcher
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.launcher.api import elastic_launch

import helpers.evaluation.caption_evaluation
import helpers.training.distribution.processes
import train_caption
from common.cli import run
from common.failures import LOST_PROCESS
from helpers.training.optimizer_step import OptimizerStep
from helpers.training.resume.folders import checkpoint_folder, find_checkpoints
from helpers.training.resume.training_state import load_progress
from tests.forked import STEPS, ForkedTraining, assert_same, fork, outcome, ready_to_fork, tiny_trainer
from tests.forked_script import codes

RESUME = "--from_checkpoint"
SOON = 90  # seconds; on a busy machine


@pytest.fixture(autouse=True, scope="module")
def _ready() -> Iterator[None]:
    with ready_to_fork():
        yield


@pytest.fixture(scope="module")
def whole(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, ForkedTraining]:
    """Uninterrupted runs of one and of two processes, which save after each epoch."""
    runs = {}
    for ranks in (1, 2):
        work = tmp_path_factory.mktemp("whole")
        runs[ranks] = tiny_trainer(work, scenes, save_every_steps=0, batch_size_train=16 // ranks)
        assert runs[ranks].finish(ranks=ranks) == [0] * ranks, runs[ranks].output()
    return runs


@pytest.fixture
def trainer(whole: dict[int, ForkedTraining], tmp_path: Path) -> ForkedTraining:
    """Another run of one process."""
    return ForkedTraining(tmp_path / "work", whole[1].config)


def on_step(number: int, action: Callable[[], object]) -> None:
    """In a process that trains: does something in the middle of a step."""
    backward, taken = OptimizerStep.backward, []

    def acting(*arguments: object) -> None:
        taken.append(1)
        if len(taken) == number:
            action()
        backward(*arguments)

    OptimizerStep.backward = acting


def signal_self(number: int, rank: int = 0) -> None:
    if os.environ.get("RANK", "0") == str(rank):
        os.kill(os.getpid(), number)


def assert_goes_on(trainer: ForkedTraining, whole: ForkedTraining, ranks: int = 1) -> None:
    """The run resumes, and ends to the bit as the uninterrupted one."""
    assert trainer.finish(RESUME, ranks=ranks) == [0] * ranks, trainer.output()
    assert_same(outcome(trainer.folder), outcome(whole.folder))


def steps(trainer: ForkedTraining) -> list[int]:
    """Of the checkpoints, the newest first."""
    return [load_progress(path).step for path in find_checkpoints(trainer.folder)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_after_the_step_and_the_run_goes_on(whole, trainer, number, code):
    stop = partial(on_step, 2, partial(signal_self, number))
    assert trainer.finish(prepare=stop) == [code], trainer.output()
    assert f"{number.name}: saves after this step" in trainer.output()
    assert steps(trainer) == [2]
    assert_goes_on(trainer, whole[1])


def test_a_signal_in_an_evaluation_ends_the_run_at_once_and_the_evaluation_is_done_again(whole, trainer):
    def stop() -> None:
        helpers.evaluation.caption_evaluation.predict_all = lambda *_: signal_self(signal.SIGTERM)

    assert trainer.finish(prepare=stop) == [143], trainer.output()
    progress = load_progress(find_checkpoints(trainer.folder)[0])
    assert (progress.epoch, progress.consumed) == (0, 60)
    assert not (trainer.folder / "results").exists()
    assert_goes_on(trainer, whole[1])
    records = [json.loads(line) for line in (trainer.folder / "metrics.jsonl").read_text().splitlines()]
    assert ["samples_per_second" in record for record in records if "train_loss" in record] == [False, True]


def test_a_signal_to_the_workers_too_stops_after_the_step(scenes, whole, tmp_path):
    """As a terminal and a cluster send it: the parent still needs its workers."""

    def signal_all() -> None:
        for worker in psutil.Process().children():
            worker.send_signal(signal.SIGTERM)
            worker.send_signal(signal.SIGINT)
        signal_self(signal.SIGTERM)

    trainer = tiny_trainer(tmp_path, scenes, save_every_steps=0, num_workers=2)
    assert trainer.finish(prepare=partial(on_step, 1, signal_all)) == [143], trainer.output()
    assert steps(trainer) == [1]
    assert_goes_on(trainer, whole[1])


@pytest.mark.parametrize(("number", "code", "saved"), [(signal.SIGINT, 130, []), (signal.SIGTERM, 143, [2])])
def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_changes_nothing(trainer, number, code, saved):
    def twice() -> None:
        signal_self(number)
        signal_self(number)

    assert trainer.finish(prepare=partial(on_step, 2, twice)) == [code], trainer.output()
    assert steps(trainer) == saved


def test_processes_stop_after_the_same_step_though_one_gets_the_signal(whole, tmp_path):
    trainer = ForkedTraining(tmp_path / "work", whole[2].config)
    stop = partial(on_step, 2, partial(signal_self, signal.SIGTERM, rank=1))
    assert trainer.finish(prepare=stop, ranks=2) == [143, 143], trainer.output()
    assert steps(trainer)[0] in (2, 3)  # the signal may come when the processes have agreed to go on
    assert_goes_on(trainer, whole[2], ranks=2)


def test_when_a_process_is_killed_the_others_end_and_say_so(scenes, tmp_path):
    trainer = tiny_trainer(tmp_path, scenes, batch_size_train=8)
    kill = partial(on_step, 3, partial(signal_self, signal.SIGKILL, rank=1))
    assert codes(trainer.start(prepare=kill, ranks=2), SOON) == [LOST_PROCESS, -signal.SIGKILL]
    last = trainer.output().splitlines()[-1]
    assert last == "error: another process of this run died or hangs; train on with --from_checkpoint"
    assert steps(trainer) == [2, 1]
    assert trainer.finish(RESUME, ranks=2) == [0, 0], trainer.output()
    assert steps(trainer)[0] == STEPS


def test_when_a_process_hangs_the_others_end_after_a_while(whole, tmp_path):
    def hang() -> None:
        if os.environ["RANK"] == "1":
            time.sleep(1000)

    def prepare() -> None:
        helpers.training.distribution.processes.PATIENCE = timedelta(seconds=5)
        on_step(2, hang)

    trainer = ForkedTraining(tmp_path / "work", whole[2].config)
    first, second = trainer.start(prepare=prepare, ranks=2)
    first.join(SOON)
    assert codes([first, second], seconds=0) == [LOST_PROCESS, None], trainer.output()
    assert "another process of this run" in trainer.output().splitlines()[-1]


def test_a_run_goes_on_with_another_number_of_processes(whole, tmp_path):
    """The position means the same; 16 samples a step either way."""
    trainer = ForkedTraining(tmp_path / "work", whole[2].config)
    stop = partial(on_step, 2, partial(signal_self, signal.SIGTERM))
    assert trainer.finish(prepare=stop, ranks=2) == [143, 143], trainer.output()
    reached = steps(trainer)[0]
    alone = ForkedTraining(trainer.work, whole[1].config)
    assert alone.finish(RESUME, "--seed", "5") == [2]
    assert "made inside an epoch with seed 42, this run has 5; go on with the same" in alone.output()
    assert alone.finish(RESUME) == [0], alone.output()
    assert f"0 epochs, {16 * reached} samples of the next, {reached} steps are done" in alone.output()
    assert "changed since: batch_size_train was 8, is 16" in alone.output()
    assert steps(alone)[0] == STEPS


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_each_process_alone_knows_comes_back(scenes, tmp_path, ranks):
    """Running statistics of its own samples, though averages are saved; which images it could not read."""
    data = tmp_path / "scenes"
    shutil.copytree(scenes, data)
    first = json.loads((data / "coco_karpathy_train.json").read_text())[0]["image"]
    (data / "vqav2" / first).write_bytes(b"no image")
    changes = {"experts": ["depth"], "label_resolution": 24, "save_every_steps": 0}
    whole = tiny_trainer(tmp_path, data, **changes, batch_size_train=16 // ranks)
    assert whole.finish(ranks=ranks) == [0] * ranks, whole.output()
    expected = outcome(whole.folder)
    assert [record["skipped"] for record in expected["records"]] == [5, 5]  # captions of that image

    cut = ForkedTraining(tmp_path / "cut", whole.config)
    stop = partial(on_step, 2, partial(signal_self, signal.SIGTERM))
    assert cut.finish(prepare=stop, ranks=ranks) == [143] * ranks, cut.output()
    other = ForkedTraining(tmp_path / "other", whole.config)
    shutil.copytree(cut.work, other.work)
    assert cut.finish(RESUME, ranks=ranks) == [0] * ranks, cut.output()
    assert_same(outcome(cut.folder), expected)
    assert other.finish(RESUME, ranks=3 - ranks) == [0] * (3 - ranks), other.output()
    assert [record["skipped"] for record in outcome(other.folder)["records"]] == [5, 5]


def full_disk_in_save(number: int) -> None:
    """In a process that trains: what a certain save writes goes to a device that is full."""
    create, saves = FileSystem.create_stream, []

    def creating(self: FileSystem, path: Path, mode: str) -> object:
        saves.append(1)
        return create(self, "/dev/full" if len(saves) == number else path, mode)

    FileSystem.create_stream = creating


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(scenes, whole, tmp_path):
    trainer = tiny_trainer(tmp_path, scenes)
    assert trainer.finish(prepare=partial(full_disk_in_save, 3)) == [2]
    last = trainer.output().splitlines()[-1]
    assert last.startswith("error: logging/caption_tiny/checkpoints/step_00000003: cannot be written")
    assert os.strerror(errno.ENOSPC) in last
    assert "Traceback" not in trainer.output()
    assert steps(trainer) == [2, 1]
    assert len(list((trainer.folder / "checkpoints").iterdir())) == 2
    assert_goes_on(trainer, whole[1])


def test_a_second_run_of_the_same_name_is_refused_until_the_first_is_gone(trainer):
    (first,) = trainer.start(prepare=partial(on_step, 2, partial(time.sleep, 1000)))
    deadline = time.monotonic() + SOON
    while not (trainer.folder / "lock").exists():
        assert time.monotonic() < deadline, trainer.output()
        time.sleep(0.01)
    held = trainer.output()
    # The first goes on printing; the second is to have a file of its own.
    (trainer.work / "output_0").rename(trainer.work / "output_of_the_first")
    second = ForkedTraining(trainer.work, trainer.config)
    assert codes(second.start(), SOON) == [2]
    line = second.output().strip()
    assert line.startswith(f"error: logging/caption_tiny: process {first.pid} on ")
    assert line.endswith("trains in it; wait for it or choose another --exp_name")
    assert first.is_alive(), held
    first.kill()
    first.join()
    assert trainer.finish() == [0], trainer.output()


def torchrun(trainer: ForkedTraining, *flags: str) -> BaseProcess:
    """torchrun itself with two processes, all forked: nothing is imported anew."""

    def train(*arguments: str) -> None:
        sys.argv = list(arguments[1:])  # the first is Python's `-u`
        run(train_caption.main)

    def launch() -> None:
        launcher.elastic_launch = lambda config, entrypoint: elastic_launch(config, train)
        options = ["--standalone", "--nproc_per_node", "2", "--start-method", "fork"]
        script = ["train_caption.py", "--exp_name", "tiny", "--config", str(trainer.config)]
        launcher.main([*options, *script, *flags])

    (process,) = fork(launch, trainer.work)
    return process


def wait_for_step(experiment: Path, step: int) -> None:
    deadline = time.monotonic() + 240
    # By name: the run removes old ones meanwhile.
    while not any(path >= checkpoint_folder(experiment, step) for path in find_checkpoints(experiment)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_torchrun_ends_what_lost_a_process_and_sends_signals_on(scenes, tmp_path):
    trainer = tiny_trainer(tmp_path, scenes, max_epoch=100, batch_size_train=8)
    process = torchrun(trainer)
    wait_for_step(trainer.folder, 2)
    psutil.Process(process.pid).children()[1].kill()
    assert codes([process], SOON) == [1]
    assert "error: another process of this run died or hangs" in trainer.output()
    reached = steps(trainer)[0]
    process = torchrun(trainer, RESUME)
    wait_for_step(trainer.folder, reached + 1)
    process.terminate()
    assert codes([process], SOON)[0] not in (0, None)
    assert f"{reached} steps are done" in trainer.output()
    assert trainer.output().count("SIGTERM: saves after this step") == 2
    assert trainer.output().count("stopped by SIGTERM") == 2


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(whole, tmp_path):
    trainer = ForkedTraining(tmp_path / "work", whole[1].config)
    shutil.copytree(whole[1].work, trainer.work)
    newest, before = find_checkpoints(trainer.folder)
    (shard,) = newest.glob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-1000])
    assert trainer.finish(RESUME) == [0], trainer.output()
    assert f"warning: logging/caption_tiny/checkpoints/{newest.name} is damaged: {shard.name} has" in trainer.output()
    assert f"goes on from logging/caption_tiny/checkpoints/{before.name}" in trainer.output()
    assert_same(outcome(trainer.folder), outcome(whole[1].folder))
