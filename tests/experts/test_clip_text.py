"""Embeddings of texts, with a tiny CLIP of random weights."""

import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer

from common.errors import UserError
from experts import clip_text
from experts.clip_text import PCA, RELEASED_PCA, ClipText, clip_text_files, read_pca
from tests.experts.tiny_clip import WIDTH, save_clip, save_pca

CPU = torch.device("cpu")
WORDS = ["stop", "exit", "a", "24", "stop", "ramp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_pca(folder / PCA)
    return save_clip(folder)


@pytest.fixture
def embed(folder):
    return ClipText(str(folder), folder, CPU)


def test_embeddings_are_clips_after_the_pca(folder, embed):
    clip, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    padded = tokenizer(WORDS, padding="max_length", max_length=20, return_tensors="pt")
    with torch.no_grad():
        whole = clip.get_text_features(**padded).pooler_output.double().numpy()
    mean, components = read_pca(folder / PCA, WIDTH)
    expected = (whole - mean) @ components.T
    features = embed(WORDS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(features[0] - features[1]).max() > 0.1 * np.abs(expected).max()
    assert np.array_equal(embed(["x" * 30]), embed(["x" * 40]))  # longer texts are cut


def test_a_text_has_the_same_bytes_whatever_stands_beside_it(folder, embed):
    together = embed([f"word {index}" for index in range(10)])
    for index in (0, 9):
        alone = ClipText(str(folder), folder, CPU)([f"word {index}"])
        assert np.array_equal(alone[0], together[index])


def test_a_text_is_embedded_once_until_the_cache_is_full(embed, monkeypatch):
    first = embed(WORDS)
    forwards = []
    embed.network.register_forward_pre_hook(lambda *given: forwards.append(1))
    assert np.array_equal(embed(WORDS[::-1]), first[::-1])
    assert not forwards
    monkeypatch.setattr(clip_text, "_CACHED", 6)
    assert np.array_equal(embed(["stop", "left", "right"])[0], first[0])
    assert forwards


def test_the_released_pca_is_read_without_its_library(tmp_path, monkeypatch):
    library = ModuleType("sklearn.decomposition._pca")
    library.PCA = type("PCA", (), {"__module__": library.__name__})
    for name in ("sklearn", "sklearn.decomposition", library.__name__):
        monkeypatch.setitem(sys.modules, name, library)
    pca = library.PCA()
    arrays = np.load(save_pca(tmp_path / "other.npz", width=8))
    pca.mean_, pca.components_, pca.n_components = arrays["mean"], arrays["components"], 64
    (tmp_path / RELEASED_PCA).write_bytes(pickle.dumps(pca))
    monkeypatch.undo()
    mean, components = read_pca(tmp_path / RELEASED_PCA, 8)
    assert np.array_equal(mean, arrays["mean"])
    assert np.array_equal(components, arrays["components"])


def test_the_files_that_it_reads(folder, tmp_path):
    assert clip_text_files("openai/clip-vit-large-patch14", tmp_path) == [tmp_path / RELEASED_PCA]
    names = {path.name for path in clip_text_files(str(folder), folder)}
    assert names == {PCA, "config.json", "model.safetensors", "vocab.json", "merges.txt"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "clip_pca.npz: missing; fetch it with"),
        (b"PK\x03\x04 and then nothing", "clip_pca.npz: damaged"),
        ({"mean": np.zeros(7), "components": np.zeros((64, 7))}, r"mean \(7,\).*expected \(8,\)"),
        ({"mean": np.zeros(8)}, "damaged.*components"),
        ({"mean": np.full(8, np.nan), "components": np.zeros((64, 8))}, "damaged .*not finite"),
        ({"mean": np.array([print] * 8), "components": np.zeros((64, 8))}, "damaged"),
    ],
)
def test_a_bad_pca_is_one_line(tmp_path, content, message):
    path = tmp_path / PCA
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(UserError, match=message) as error:
        read_pca(path, 8)
    assert "\n" not in str(error.value)


def test_a_clip_without_its_tokenizer_is_refused(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(UserError, match=str(tmp_path)):
        ClipText(str(tmp_path), folder, CPU)
