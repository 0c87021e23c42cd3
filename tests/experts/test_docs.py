"""docs/experts.md: its example runs, its table has all backends."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experts.registry import BACKENDS
from experts.runner import generate_labels

DOCS = Path(__file__).parents[2] / "docs" / "experts.md"


def test_the_example_of_a_new_backend_runs(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, entry = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    module = re.search(r'"(experts\.edge\.sobel)"', entry)[1]
    (tmp_path / "sobel.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS["edge"], "sobel", module.rpartition(".")[2])
    labels = tmp_path / "labels"
    report = generate_labels(scenes, labels, {"edge": {"name": "sobel", "side": 320}}, num_workers=1)
    monkeypatch.delitem(sys.modules, "sobel")
    assert report.labelled == 6
    edges = np.asarray(Image.open(labels / "edge" / "a" / "two.png"))
    assert edges.shape == Image.open(scenes / "a" / "two.jpg").size[::-1]
    assert edges.min() < 150  # edges are dark
    assert np.median(edges) > 200


def test_every_backend_is_in_the_table() -> None:
    rows = "\n".join(re.findall(r"^\|.*", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    for expert, backends in BACKENDS.items():
        for name in (expert, *backends):
            assert f"`{name}`" in rows, name
