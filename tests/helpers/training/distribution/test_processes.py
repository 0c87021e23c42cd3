"""Threads by the cores there are, unless the environment chooses; the precision that a device has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from common.errors import UserError
from helpers.training.distribution import processes as started


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_cores_are_those_of_affinity_and_quota(monkeypatch, tmp_path: Path, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert started.available_cores(tmp_path) == cores


@pytest.mark.parametrize(("processes", "workers", "chosen"), [(1, 4, 4), (1, 8, 1), (2, 0, 4), (1, 0, 8)])
def test_workers_and_other_processes_have_theirs(monkeypatch, processes, workers, chosen):
    monkeypatch.setattr(started, "available_cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    said = started.choose_threads(workers)
    assert torch.get_num_threads() == chosen
    shared = f" for {processes} processes" if processes > 1 else ""
    assert said.startswith(f"threads: {chosen} of 8 cores{shared}, workers {workers} ")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_environment_chooses(monkeypatch, name):
    monkeypatch.setenv(name, "3")
    before = torch.get_num_threads()
    assert started.choose_threads(0) is None
    assert torch.get_num_threads() == before


def test_float16_is_refused_on_a_cpu():
    AcceleratorState._reset_state()
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        started.start_accelerator("fp16")
    AcceleratorState._reset_state()
