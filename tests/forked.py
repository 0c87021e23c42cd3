"""Processes forked from this one, so that torch is imported once; train_caption.py with a tiny network."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import load_file

import helpers.training.plan
import helpers.training.trainer
import train_caption
from common.cli import run
from helpers.training.resume.folders import find_checkpoints
from helpers.training.resume.sharded_tensors import read_whole
from helpers.training.resume.training_state import load_progress
from model.sizes import ModelSize
from tests.end_to_end.conftest import write_caption_config
from tests.forked_script import FORK, codes, environments, settle
from tests.model import tiny

STEPS = 8  # of a whole run: 60 samples twice, 16 a step


@dataclass
class ForkedTraining:
    """Starts training in a folder, on a config.

    Attributes:
        work: the folder a user would be in; one is made.
        config: the file.
    """

    work: Path
    config: Path

    @property
    def folder(self) -> Path:
        """The experiment's."""
        return self.work / "logging" / "caption_tiny"

    def start(self, *flags: str, prepare: Callable[[], object] = lambda: None, ranks: int = 1) -> list[BaseProcess]:
        """Starts the processes of one run; `prepare` is called in each, before."""
        arguments = ["--exp_name", "tiny", "--config", str(self.config), *flags]
        return fork(partial(_train, arguments, prepare), self.work, ranks)

    def finish(self, *flags: str, **options: object) -> list[int | None]:
        """Runs to the end; the exit codes."""
        return codes(self.start(*flags, **options))

    def output(self, rank: int = 0) -> str:
        """What a process of the last run has printed."""
        return (self.work / f"output_{rank}").read_text()


def fork(target: Callable[[], object], work: Path, ranks: int = 1) -> list[BaseProcess]:
    """Starts processes of one group in a folder, which is made; process r prints to `output_r` in it."""
    work.mkdir(exist_ok=True)
    processes = []
    for rank, environment in enumerate(environments(ranks)):
        environment["PATH"] = ""  # no Java: it is slow to start
        processes.append(FORK.Process(target=_child, args=(target, work, environment, rank)))
        processes[-1].start()
    return processes


def _child(target: Callable[[], object], work: Path, environment: dict[str, str], rank: int) -> None:
    os.environ.update(environment)
    with (work / f"output_{rank}").open("w", buffering=1) as output:
        settle(work, output, output)
        run(target)


def _train(arguments: list[str], prepare: Callable[[], object]) -> None:
    sys.argv = ["train_caption.py", *arguments]
    prepare()
    train_caption.main()


def tiny_trainer(work: Path, scenes: Path, **changes: object) -> ForkedTraining:
    """A trainer whose runs save after each step; `tiny_size` must be what sizes are read by."""
    settings = {"experts": "none", "image_resolution": 24, "save_every_steps": 1, "metrics": ["cider"]}
    settings |= {"max_length": 8, "min_length": 2, "num_beams": 1, "freeze": "freeze_lang_vision"}
    settings |= {"batch_size_train": 16, "batch_size_test": 4}
    return ForkedTraining(work / "work", write_caption_config(work / "caption.yaml", scenes, **settings | changes))


def tiny_size(_name: str) -> ModelSize:
    """Stands for a size of `configs/models.yaml`."""
    return ModelSize(vision=tiny.CONFIG.vision, text=tiny.CONFIG.text, tokenizer=str(tiny.TOKENIZER))


@contextmanager
def ready_to_fork() -> Iterator[None]:
    """One thread of torch, which must not have others in a process that is forked; a tiny network."""
    threads, read = torch.get_num_threads(), helpers.training.plan.read_model_size
    torch.set_num_threads(1)
    helpers.training.plan.read_model_size = tiny_size
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        helpers.training.plan.read_model_size = read


def outcome(folder: Path) -> dict[str, object]:
    """All that a run has left which must not depend on whether it was interrupted."""
    newest = find_checkpoints(folder)[0]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        for name in [name for name in record if name.endswith(("seconds", "per_second", "gib"))]:
            del record[name]
    best = load_file(folder / "model.safetensors")
    progress = load_progress(newest)
    return {"progress": progress, "records": records} | read_whole(newest, "") | best


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    """To the bit."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        same = torch.equal(value, expected[name]) if torch.is_tensor(value) else value == expected[name]
        assert same, name
