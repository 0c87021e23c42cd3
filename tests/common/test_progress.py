"""Bars are for terminals; a log file gets a line now and then."""

import io
import sys

import pytest

from common import progress
from common.progress import progress_bar


@pytest.mark.parametrize(("every", "lines"), [(3600.0, 1), (0.0, 2 + 4 + 1)])
def test_a_log_file_gets_a_line_now_and_then(monkeypatch, every, lines):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "EVERY", every)
    with progress_bar(total=4, desc="epoch 1", mininterval=0) as bar:
        for _ in range(4):
            bar.update()
        bar.set_postfix(loss=2)
    written = log.getvalue()
    assert "\r" not in written
    assert len(written.splitlines()) == lines
    last = written.splitlines()[-1]
    assert last.startswith("epoch 1: 100%")
    assert "4/4" in last
    assert "loss=2" in last
    assert list(progress_bar([1, 2], disable=True)) == [1, 2]
    assert log.getvalue() == written


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert "\r100%" in terminal.getvalue()
