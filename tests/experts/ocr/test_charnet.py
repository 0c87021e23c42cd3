"""The backend `charnet`: a tiny network, its lexicon, and the words that it reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.clip_text import PCA, ClipText
from experts.ocr import charnet
from experts.ocr.charnet import CharNetExpert, Lexicon, Options, read_lexicon
from experts.ocr.decode import select_cells
from experts.ocr.network import CharNet
from tests.experts.tiny_clip import save_clip, save_pca
from tests.parity.drawn_heads import draw
from tests.parity.seeded_weights import seeded_state_dict

WORDS = Lexicon(["at", "Step", "stop", "MARKET", "motorway", "STEP"])


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> CharNetExpert:
    folder = tmp_path_factory.mktemp("clip")
    save_pca(folder / PCA)
    setting = RuntimeConfig(torch.device("cpu"), folder)
    network = CharNet(width=8).eval()
    network.load_state_dict(seeded_state_dict(network.state_dict()))
    words = Lexicon(["step", "stop", "exit"])
    return CharNetExpert(network, words, ClipText(str(save_clip(folder)), folder, setting.device), setting)


def test_an_image_has_the_same_cells_whatever_is_read_with_it(expert):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40 + 9 * i, 60, 3), dtype=np.uint8)) for i in range(3)]
    inputs = [expert.prepare(image) for image in images]
    together = expert.predict(inputs)
    (alone,) = expert.predict(inputs[2:])
    assert len(alone.words) > 100
    assert len(alone.chars) > 10
    assert np.array_equal(alone.words, together[2].words)
    assert np.array_equal(alone.chars, together[2].chars)


def test_words_are_corrected_lowered_and_embedded(expert):
    (cells,) = select_cells(draw([("stqp", 10, 10, 0.9), ("exit", 40, 50, 0.99), ("xqz", 80, 90, 0.9)]))
    label = expert.decode(cells, Target((360, 640)))["ocr_detection"]
    assert label.map.shape == (360, 640)
    assert {number: word.text for number, word in label.words.items()} == {0: "exit", 1: "step"}
    assert np.unique(label.map).tolist() == [0, 1, 255]
    assert np.array_equal(label.words[0].features, expert.embed(["exit"])[0])


def test_the_files_that_it_reads(tmp_path):
    names = [path.name for path in charnet.files([], Options(), tmp_path)]
    assert names == [charnet.FILE, "GenericVocabulary.txt", "clip_pca.pkl"]
    clip = save_clip(tmp_path / "clip")
    assert clip / "config.json" in charnet.files([], Options(str(clip)), tmp_path)


@pytest.mark.parametrize(
    ("text", "score", "believed"),
    [
        ("STOP", 0.79, None),  # too unsure, though a word
        ("STOP", 0.80, "STOP"),
        ("XQZVK", 0.97, None),
        ("XQZVK", 0.98, "XQZVK"),  # sure enough to be no word
        ("24H", 0.90, "24H"),  # not letters alone
        ("24H", 0.89, None),
        ("M4RKET", 0.85, "MARKET"),
        ("STQP", 0.90, "STEP"),  # as near as STOP, and before it in the file
        ("MBRKEX", 0.90, "MARKET"),  # two edits in six letters
        ("SOAP", 0.90, None),  # two edits in four
        ("MARKE", 0.90, "MARKET"),  # one in five
        ("MXRKE", 0.90, None),
        ("AT", 0.90, "AT"),
        ("AS", 0.90, None),  # not one edit in two
        ("MOTTORWAYS", 0.90, "MOTORWAY"),
        ("MOTTTORWAYS", 0.90, None),
    ],
)
def test_readings(text, score, believed):
    assert WORDS.believed(text, score) == believed


@pytest.mark.parametrize("content", [b"# a list\nStop\r\n\n  \nexit\n", None, b"# nothing\n", b"\xff\xfe\x00s"])
def test_a_lexicon_has_words_or_is_one_line(tmp_path: Path, content):
    path = tmp_path / "GenericVocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    if content and b"Stop" in content:
        assert read_lexicon(path).words == ["STOP", "EXIT"]
        return
    with pytest.raises(UserError, match=r"GenericVocabulary.txt: .*download_checkpoints.py") as error:
        read_lexicon(path)
    assert "\n" not in str(error.value)
