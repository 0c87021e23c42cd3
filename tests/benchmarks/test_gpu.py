"""The GPU's benchmark runs on a CPU, keeps its rows, and continues after a row that fails."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from benchmarks import gpu


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.backends.cudnn.allow_tf32 = True


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> dict:
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--out", str(folder / "gpu.json"), *flags])
    gpu.main()
    return json.loads((folder / "gpu.json").read_text())["rows"]


def test_rows(monkeypatch, tmp_path, capsys):
    wanted = ["check recorded float32", "product", "captions 4 eager", "VQA 8 eager", "encoder 1", "k 16"]
    found = run(monkeypatch, tmp_path, "--only", *wanted)
    assert list(found) == [name for name in gpu.rows() if any(part in name for part in wanted)]
    assert not any("error" in row for row in found.values())
    assert found["check recorded float32"]["gradient"] < 1e-5
    assert found["base captions 4 eager"]["samples/s"] > 0
    assert found["base captions 4 eager"]["planned GiB"] > 0
    assert found["ranking 8 x 1 k 16"]["speed-up"] > 0
    printed = capsys.readouterr().out
    assert "encoder 1: ms " in printed


def test_a_row_that_fails_is_told_and_the_next_one_comes(monkeypatch, tmp_path):
    def fails(_bench: gpu.Bench) -> dict:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(gpu, "rows", lambda: {"bad": (fails, ()), "good": (gpu.product, ())})
    found = run(monkeypatch, tmp_path)
    assert found["bad"]["error"] == "OutOfMemoryError: no memory"
    assert found["good"]["TFLOP/s"] > 0


def test_no_row_begins_when_the_time_is_over(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--seconds", "0", "--out", str(tmp_path / "gpu.json")])
    gpu.main()
    assert "product: left out" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
