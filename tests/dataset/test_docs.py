"""The examples of docs/data.md and docs/labels.md work."""

import re
from pathlib import Path

import pytest

from common.yaml_config import read_config
from dataset.image_list import read_list
from helpers.training.settings import CaptionConfig
from model.modalities import MODALITIES

DOCS = Path(__file__).parents[2] / "docs"


def example(language: str) -> str:
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL).group(1)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_lists(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    path.write_text(example(suffix), encoding="utf-8")
    assert read_list(path, ("caption",)) == [
        {"image": "garden/rose.jpg", "caption": "a red rose, in full bloom"},
        {"image": "garden/fence.png", "caption": "a white fence"},
    ]


def test_config(tmp_path: Path) -> None:
    path = tmp_path / "garden.yaml"
    path.write_text(example("yaml"), encoding="utf-8")
    config = read_config(path, CaptionConfig, "garden")
    assert (config.dataset, config.train_list, config.test_list) == ("custom", "train.csv", "test.json")


def test_every_modality_is_described() -> None:
    text = (DOCS / "labels.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d) \|", text, re.MULTILINE)
    assert dict(rows) == {name: str(entry.channels) for name, entry in MODALITIES.items()}
