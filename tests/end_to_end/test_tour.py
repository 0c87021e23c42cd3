"""docs/tour.ipynb runs from its first cell to its last, with less to train on."""

import json
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.end_to_end.conftest import ROOT


def test_the_tour(tmp_path, monkeypatch, capsys):
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])  # they would be of another machine
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(ROOT / "docs")  # where Jupyter starts it
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names = {}
    for cell in cells:
        exec(cell.replace("SCENES, EPOCHS = 300, 2", "SCENES, EPOCHS = 8, 1"), names)
    said = capsys.readouterr().out
    assert "8 samples, global batch 4, 2 steps" in said
    assert names["caption"].text in said
    assert isinstance(names["draw_attribution"](names["caption"].attribution), Image.Image)
    assert (Path(names["work"]) / "caption_tour" / "model.safetensors").is_file()
