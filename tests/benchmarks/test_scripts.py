"""Every benchmark runs; each checks itself that both ways give the same."""

import importlib
import operator
import sys

import pytest

from benchmarks import activation_checkpointing
from benchmarks.measure import peak_memory, take_turns

QUICKER = {
    "ranking": {"TURNS": {16: 1, 128: 1}},
    "beam_search": {"TURNS": 1},
    "training_step": {"TURNS": 1, "peak_memory": lambda work, *args: work(*args) or 1},
    "loader": {"TURNS": 1, "SCENES": 1, "SAMPLES": 4},
    "encoder": {"TURNS": 1},
    "shards": {"TURNS": 1, "SCENES": 4, "SHARD_SIZE": 2, "SAMPLES": 4},
}


@pytest.mark.parametrize("name", QUICKER)
def test_runs(name, monkeypatch, capsys):
    script = importlib.import_module(f"benchmarks.{name}")
    for constant, value in QUICKER[name].items():
        monkeypatch.setattr(script, constant, value)
    monkeypatch.setattr(sys, "argv", [name, "--tiny"])
    script.main()
    printed = capsys.readouterr().out
    assert "threads, torch" in printed
    assert "baseline" in printed
    assert "ours" in printed


def test_activation_checkpointing(monkeypatch, capsys):
    monkeypatch.setattr(activation_checkpointing, "TURNS", 1)
    monkeypatch.setattr(activation_checkpointing, "peak_memory", lambda *_: 0)
    monkeypatch.setattr(sys, "argv", ["activation_checkpointing", "--tiny"])
    activation_checkpointing.main()
    *_, none, full, offload = (line.split() for line in capsys.readouterr().out.splitlines())
    assert [none[0], full[0], offload[0]] == ["none", "full", "offload"]
    assert int(none[1]) > int(full[1]) > int(offload[1])


def test_ways_take_turns(monkeypatch):
    clock, order = iter(range(100)), []
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timings = take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b") or "done"}, 2)
    assert order == ["a", "b"] * 3  # once to warm up
    assert timings["b"].result == "done"
    assert timings["a"].seconds == 1


def test_peak_memory_is_that_of_the_work():
    more = peak_memory(operator.mul, b"x", 300 << 20) - peak_memory(operator.mul, b"x", 100 << 20)
    assert more == pytest.approx(200 << 20, rel=0.1)
