"""The real roberta-base tokenizer through our loading code, on real COCO captions."""

import json
import re
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dataset.text import clean_caption
from model.tokenizer import load_tokenizer
from tests.roberta_files import (
    GPT2_SIZE,
    VOCAB_SIZE,
    byte_characters,
    merge_ranks,
    parts,
    write_tokenizer,
)

# GPT-2's rule for words, with the standard library's classes for letters and numbers.
WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
SPECIAL_TOKENS = 3  # ids 0 to 3 are <s>, <pad>, </s>, <unk>


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Captions of COCO 2014 val, as they stand in the annotation file."""
    (package,) = find_spec("pycocoevalcap").submodule_search_locations
    with (
        zipfile.ZipFile(Path(package) / "spice" / "spice-1.0.jar") as jar,
        jar.open("coco/annotations/captions_val2014.json") as file,
    ):
        return [row["caption"] for row in json.load(file)["annotations"]]


def plain_ids(text: str, ids_of: dict[str, int], shown: dict[int, str]) -> Iterator[int]:
    """Byte-level BPE as it is defined: words, their bytes, the earliest merge first."""
    for word in WORD.findall(text):
        for piece in parts(word.encode(), merge_ranks(), below=GPT2_SIZE):
            yield ids_of["".join(shown[byte] for byte in piece)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("A picture of a dog", [0, 250, 2170, 9, 10, 2335, 2]),
        ("Hello world!", [0, 31414, 232, 328, 2]),
        (" Hello world", [0, 20920, 232, 2]),
        ("What color is the cat?", [0, 2264, 3195, 16, 5, 4758, 116, 2]),
    ],
)
def test_published_ids(tokenizer, text, ids):
    assert tokenizer(text).input_ids == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_special_tokens(tokenizer):
    assert len(tokenizer) == VOCAB_SIZE
    special = [tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    assert special == [0, 1, 2, 3, VOCAB_SIZE - 1]


def test_mask_takes_the_space_before_it_and_no_other_token_does(tokenizer, tmp_path):
    """As in roberta-base's tokenizer.json; a saved tokenizer is the same for us and for transformers."""
    tokenizer.backend_tokenizer.model.save(str(tmp_path))
    tokenizer.save_pretrained(tmp_path)
    for saved in (tokenizer, load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        flags = {str(token): token.lstrip for token in saved.added_tokens_decoder.values()}
        assert flags == {"<s>": False, "<pad>": False, "</s>": False, "<unk>": False, "<mask>": True}
        assert not any(token.rstrip or token.single_word for token in saved.added_tokens_decoder.values())
        assert saved("A <mask> dog").input_ids == [0, 250, VOCAB_SIZE - 1, 2335, 2]
        assert saved("A </s> dog", add_special_tokens=False).input_ids == [250, 1437, 2, 2335]


def test_captions_come_back_unchanged(tokenizer, captions):
    assert len(captions) == 202_654
    chosen = captions[::20]
    ids = tokenizer(chosen, add_special_tokens=False).input_ids
    assert tokenizer.batch_decode(ids) == chosen
    assert min(map(min, ids)) > SPECIAL_TOKENS


def test_ids_are_those_of_a_plain_byte_level_bpe(tokenizer, folder, captions):
    ids_of = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    raw = captions[::700]
    # Raw captions, captions as the models read them, and characters that captions lack.
    others = ["naïve café, 東京 2 cats' toys — don't   stop\n\n it's 12,345.6 \U0001f600", "_a__b \t c's "]
    for text in [*raw, *map(clean_caption, raw), *others]:
        expected = list(plain_ids(text, ids_of, byte_characters()))
        assert tokenizer(text, add_special_tokens=False).input_ids == expected, text
