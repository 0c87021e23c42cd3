"""Tables of your own names, with a tiny CLIP of random weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPModel, CLIPTokenizer

from common.errors import UserError
from dataset.class_tables import read_class_tables
from experts import build_class_tables
from experts.clip_text import PCA, read_pca
from tests.experts.tiny_clip import WIDTH, save_clip, save_pca

NAMES = ["cat", "street light", "a", "street light"]  # the released detection table, too, has names twice


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_pca(folder / PCA)
    return save_clip(folder)


def build(clip: Path, names: Path, out: Path, weights: Path | None = None) -> None:
    arguments = ("--names", names, "--out", out, "--clip", clip, "--weights_path", weights or clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["build_class_tables", *map(str, arguments)])
        build_class_tables.main()


@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_a_table_is_what_the_model_reads(clip: Path, tmp_path: Path, suffix: str) -> None:
    for name, content in (("pets", NAMES), ("background", ["background"])):
        text = json.dumps(content) if suffix == ".json" else "\n".join(content) + "\n\n"
        (tmp_path / f"{name}{suffix}").write_text(text)
        build(clip, tmp_path / f"{name}{suffix}", tmp_path / "tables" / f"{name}.npz")
    tables = read_class_tables(tmp_path / "tables", ["pets"])
    assert tables.labels["pets"] == NAMES

    network, tokenizer = CLIPModel.from_pretrained(clip).eval(), CLIPTokenizer.from_pretrained(clip)
    mean, components = read_pca(clip / PCA, WIDTH)
    for found, name in zip([*tables.features["pets"], tables.background], [*NAMES, "background"], strict=True):
        embedded = network.get_text_features(**tokenizer([name], return_tensors="pt")).pooler_output
        expected = (embedded[0].detach().double().numpy() - mean) @ components.T
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("file", "content", "out", "message"),
    [
        ("a.json", '{"cat": 0}', "a.npz", r"a\.json: expected an array of texts"),
        ("a.json", "[1]", "a.npz", r"a\.json: expected an array of texts"),
        ("a.txt", "\n", "a.npz", r"a\.txt: it has no names"),
        ("a.txt", "cat", "a.pt", r"a\.pt: must end in \.npz"),
        ("a.txt", "cat\ndog", "background.npz", "the table 'background' is of one name, found 2"),
        ("a.txt", "cat", "a.npz", r"clip_pca\.pkl: missing; fetch it with: python download_checkpoints"),
    ],
)
def test_mistakes(clip: Path, tmp_path: Path, file: str, content: str, out: str, message: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=message):
        build(clip, tmp_path / file, tmp_path / out, weights=tmp_path)
    assert not (tmp_path / out).exists()
