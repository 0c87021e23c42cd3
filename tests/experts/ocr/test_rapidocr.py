"""The backend `rapidocr`: the network of the package reads a word that was drawn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.clip_text import PCA
from experts.ocr import rapidocr
from experts.ocr.rapidocr import Options, RapidOcrExpert
from tests.experts.tiny_clip import save_clip, save_pca

OCR = ["ocr_detection"]


@pytest.fixture(scope="module")
def expert(tmp_path_factory) -> RapidOcrExpert:
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("weights")
    save_pca(folder / PCA)
    save_clip(folder)
    return rapidocr.load(OCR, Options(clip=str(folder)), RuntimeConfig(torch.device("cpu"), folder))


def test_a_drawn_word_is_read_and_an_empty_image_is_not(expert):
    image = Image.new("RGB", (320, 96), (180, 30, 30))
    ImageDraw.Draw(image).text((90, 16), "STOP", fill="white", font=ImageFont.load_default(60))
    empty = Image.new("RGB", (3, 200), "white")
    words, nothing = expert.predict([expert.prepare(image), expert.prepare(empty)])
    label = expert.decode(words, Target((96, 320)))["ocr_detection"]
    assert {number: word.text for number, word in label.words.items()} == {0: "stop"}
    assert np.array_equal(label.words[0].features, expert.embed(["stop"])[0])
    rows, columns = np.nonzero(label.map == 0)
    drawn = np.nonzero((np.asarray(image) == 255).all(-1))
    assert rows.min() < drawn[0].min() < drawn[0].max() < rows.max()
    assert columns.min() < drawn[1].min() < drawn[1].max() < columns.max()
    assert expert.decode(nothing, Target((200, 3)))["ocr_detection"].map is None


def test_the_package_sees_blue_first_and_words_are_lowered(expert, monkeypatch):
    corners = np.array([[[0.0, 0], [8, 0], [8, 2], [0, 2]]])
    seen = []

    def read(pixels: np.ndarray) -> SimpleNamespace:
        seen.append(pixels[4, 3].tolist())
        return SimpleNamespace(txts=("To GO",), boxes=corners, scores=(0.9,))

    monkeypatch.setattr(expert, "read", read)
    ((first, second),) = expert.predict([expert.prepare(Image.new("RGB", (20, 10), (200, 100, 50)))])
    assert seen == [[50, 100, 200]]
    assert (first[0], second[0]) == ("to", "go")
    assert second[1].tolist() == pytest.approx(np.array([[4.8, 0], [8, 0], [8, 2], [4.8, 2]]))


def test_the_package_neither_enlarges_images_nor_takes_all_threads(expert, monkeypatch):
    """Its own way makes the shorter side 736 pixels, however long the other is."""
    given = {}
    monkeypatch.setattr("rapidocr.RapidOCR", lambda params: given.update(params))
    RapidOcrExpert(expert.embed)
    assert given["Global.use_preprocess_img"] is False
    assert (given["Det.limit_type"], given["Det.limit_side_len"]) == ("max", 960)
    threads = {name: number for name, number in given.items() if name.endswith("num_threads")}
    assert list(threads.values()) == [torch.get_num_threads(), 1]


def test_its_weights_come_with_the_package(tmp_path):
    pytest.importorskip("rapidocr")
    *networks, pca = rapidocr.files(OCR, Options(), tmp_path)
    assert pca == tmp_path / "clip_pca.pkl"
    assert len(networks) == 3
    assert all(path.exists() for path in networks)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(rapidocr, "find_spec", lambda name: None)
    for start in (
        lambda: rapidocr.files(OCR, Options(), tmp_path),
        lambda: rapidocr.load(OCR, Options(), RuntimeConfig(torch.device("cpu"), tmp_path)),
    ):
        with pytest.raises(UserError, match="pip install rapidocr onnxruntime"):
            start()
