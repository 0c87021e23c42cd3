"""Traces of training steps."""

import json

import pytest
import torch

from helpers.training import profiling


@pytest.mark.parametrize(("count", "seen"), [(2, [1, 2]), (4, [2, 3, 4]), (9, [5, 6, 7])])
def test_some_batches_are_traced(tmp_path, monkeypatch, capsys, count, seen):
    monkeypatch.setattr(profiling, "WARM_UP", 4)
    trace = profiling.Trace(tmp_path, count)
    for number in range(1, count + 1):
        trace.begin_batch(number)
        with torch.profiler.record_function(f"step {number}"):
            torch.ones(3).sum()
        trace.end_batch(number)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events}
    assert {name for name in names if name.startswith("step ")} == {f"step {number}" for number in seen}
    assert "aten::sum" in names
    assert f"a trace of {len(seen)} batches" in capsys.readouterr().out
