"""The backend `charnet`, with tiny networks in files like the released ones."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import RuntimeConfig, Target
from experts.clip_text import PCA
from experts.label_writer import write_label
from experts.ocr import charnet
from experts.ocr.charnet import FILE, CharNetExpert, Options
from experts.ocr.decode import select_cells
from experts.ocr.network import CharNet
from tests.experts.tiny_clip import save_clip, save_pca
from tests.parity.drawn_heads import draw
from tests.parity.seeded_weights import seeded_state_dict

WIDTH = 8
OCR = ["ocr_detection"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with all that is released."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(seeded_state_dict(CharNet(WIDTH).state_dict()), folder / FILE)
    (folder / charnet.LEXICON).write_text("# words\nstep\nstop\nexit\n")
    save_pca(folder / PCA)
    save_clip(folder / "clip")
    return folder


@pytest.fixture
def expert(weights, monkeypatch) -> CharNetExpert:
    monkeypatch.setattr(charnet, "CharNet", partial(CharNet, WIDTH))
    options = Options(clip=str(weights / "clip"))
    return charnet.load(OCR, options, RuntimeConfig(torch.device("cpu"), weights))


def images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40 + 9 * index, 60, 3), dtype=np.uint8)) for index in range(count)]


def test_the_network_sees_normalised_rgb(expert, monkeypatch):
    seen = []
    monkeypatch.setattr(expert, "network", lambda pixels: seen.append(pixels) or draw([]))
    expert.predict([expert.prepare(Image.new("RGB", (50, 40), (255, 0, 51)))])
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(seen[0][0, :, 7, 9], expected, rtol=1e-5)


def test_an_image_has_the_same_cells_whatever_is_read_with_it(expert):
    inputs = [expert.prepare(image) for image in images(3)]
    together = expert.predict(inputs)
    (alone,) = expert.predict(inputs[2:])
    assert len(alone.words) > 100
    assert len(alone.chars) > 10
    assert np.array_equal(alone.words, together[2].words)
    assert np.array_equal(alone.chars, together[2].chars)


def test_words_are_corrected_lowered_and_embedded(expert, tmp_path):
    (cells,) = select_cells(draw([("stqp", 10, 10, 0.9), ("exit", 40, 50, 0.99), ("xqz", 80, 90, 0.9)]))
    label = expert.decode(cells, Target((360, 640)))["ocr_detection"]
    assert label.map.shape == (360, 640)
    assert {number: word.text for number, word in label.words.items()} == {0: "exit", 1: "step"}
    assert np.unique(label.map).tolist() == [0, 1, 255]
    assert np.array_equal(label.words[0].features, expert.embed(["exit"])[0])
    write_label(tmp_path, "ocr_detection", "image", label)
    assert (tmp_path / "ocr_detection/image.json").exists()


def test_the_files_it_reads(weights, tmp_path):
    names = [path.name for path in charnet.files(OCR, Options(), weights)]
    assert names == [FILE, "GenericVocabulary.txt", "clip_pca.npz"]
    missing = charnet.files(OCR, Options(), tmp_path)
    assert [path.name for path in missing] == [FILE, "GenericVocabulary.txt", "clip_pca.pkl"]
    assert weights / "clip" / "config.json" in charnet.files(OCR, Options(str(weights / "clip")), weights)
