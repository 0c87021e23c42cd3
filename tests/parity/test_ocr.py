"""CharNet gives the original's maps, words and labels."""

import json

import numpy as np
import pytest
import torch

from experts.ocr.charnet import FILE, Lexicon
from experts.ocr.decode import read_words, select_cells
from experts.ocr.label import words_label
from experts.ocr.network import CharNet
from experts.weight_loading import released_network
from tests.parity.drawn_heads import draw
from tests.parity.goldens import FOLDER, assert_matches
from tests.parity.released_experts import released
from tests.parity.seeded_weights import seeded_state_dict

DET = FOLDER.parent / "det"
DRAWN = json.loads((DET / "charnet_decode.json").read_text())
LEXICON = Lexicon(["Exit", "market", "step", "stop", "street"])  # the part of the original's that matters


@pytest.fixture
def network(tmp_path):
    """Of released size, read from a file like the released one."""
    path = tmp_path / FILE
    torch.save(seeded_state_dict(released("ocr_detection")), path)
    yield released_network(path, CharNet)
    path.unlink()  # 340 MB, which pytest would keep


def test_maps(network):
    arrays = np.load(DET / "charnet.npz")
    with torch.inference_mode():
        images = torch.from_numpy(arrays["x"])
        assert_matches(network.backbone(images)[0, ::8], arrays["features_every8"])
        heads = network(images)
    assert_matches(heads.word_fg[0], arrays["word_fg"])
    assert_matches(heads.word_tblr[0], arrays["word_tblr"])
    assert_matches(heads.word_orientation[0], arrays["word_orient"])
    assert_matches(heads.char_fg[0], arrays["char_fg"])
    assert_matches(heads.char_tblr[0], arrays["char_tblr"])
    assert_matches(heads.char_class[0, :, ::4, ::4], arrays["char_cls_every4"])


@pytest.mark.parametrize("case", DRAWN["cases"])
def test_words(case):
    (cells,) = select_cells(draw(DRAWN["cases"][case]))
    found = [(LEXICON.believed(word.text, word.text_score), word) for word in read_words(cells, size=(360, 640))]
    found = [(text, word) for text, word in found if text is not None]
    expected = DRAWN["results"][case]
    assert [text for text, _ in found] == [word["text"] for word in expected]
    for (_, word), golden in zip(found, expected, strict=True):
        assert word.corners.ravel().tolist() == golden["box"]
        assert word.box_score == pytest.approx(golden["box_score"], abs=1e-6)
        assert word.text_score == pytest.approx(golden["text_score"], abs=1e-6)


def test_label():
    words = [("stop", [10, 10, 60, 10, 60, 30, 10, 30]), ("way", [40, 20, 110, 25, 108, 45, 38, 40])]
    label = words_label(
        [(text, np.reshape(corners, (4, 2))) for text, corners in words],
        embed=lambda texts: np.zeros((len(texts), 64), np.float32),
        size=(100, 150),
    )
    assert np.array_equal(label.map, np.load(DET / "ocr_label.npz")["mask"])
    assert {number: word.text for number, word in label.words.items()} == {0: "way", 1: "stop"}
