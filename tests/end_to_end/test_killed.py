"""kill -9 of a training at any moment, while it saves too: the run that goes on ends as one left alone."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest

from helpers.training.resume.folders import find_checkpoints
from tests.forked import ForkedTraining, assert_same, outcome, ready_to_fork, tiny_trainer

KILLS = 12
FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


@pytest.fixture(autouse=True, scope="module")
def _ready() -> Iterator[None]:
    with ready_to_fork():
        yield


def count_file_events(count: Synchronized, fatal: int | None = None) -> None:
    """Counts what this process does to files of the experiment; kills it just before a certain one."""

    def hook(event: str, arguments: tuple) -> None:
        if event in FILE_EVENTS and "caption_tiny" in str(arguments[0]):
            count.value += 1
            if count.value == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_killed_at_12_moments(scenes: Path, tmp_path: Path):
    (tmp_path / "whole").mkdir()
    # Twelve images twice, four a step.
    settings = {"captions_per_image": 5, "batch_size_train": 2, "accumulate_steps": 2}
    settings |= {"experts": ["depth"], "label_resolution": 24}
    trainer = tiny_trainer(tmp_path / "whole", scenes, **settings)
    count = multiprocessing.Value("i")
    began = time.monotonic()
    assert trainer.finish(prepare=partial(count_file_events, count)) == [0], trainer.output()
    seconds, events, expected = time.monotonic() - began, count.value, outcome(trainer.folder)
    assert expected["progress"].step == 6
    assert events > 60

    draw = random.Random(5)
    kills, runs, within = 0, 0, ForkedTraining(tmp_path / "killed_0", trainer.config)
    while kills < KILLS:
        flags = ["--from_checkpoint"] if find_checkpoints(within.folder) else []
        if kills % 2:  # at a moment
            began = time.monotonic()
            (process,) = within.start(*flags)
            process.join(draw.uniform(0, seconds))
            if not process.is_alive():
                seconds = min(seconds, time.monotonic() - began)  # the first run may have been slow
            process.kill()
            process.join()
            code = process.exitcode
        else:  # before a file is opened, renamed or removed
            count.value = 0
            fatal = partial(count_file_events, count, draw.randint(1, events))
            (code,) = within.finish(*flags, prepare=fatal)
        assert code in (0, -signal.SIGKILL), within.output()
        kills += code != 0
        if code == 0:
            assert_same(outcome(within.folder), expected)
            runs += 1
            within = ForkedTraining(tmp_path / f"killed_{runs}", trainer.config)
    flags = ["--from_checkpoint"] if find_checkpoints(within.folder) else []
    assert within.finish(*flags) == [0], within.output()
    assert_same(outcome(within.folder), expected)
    left = [*within.folder.iterdir(), *(within.folder / "checkpoints").iterdir()]
    assert [path.name for path in left if path.name.startswith(".")] == []
