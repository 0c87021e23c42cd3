"""Loading the tokenizer from a folder or the hub, and its errors."""

import shutil

import huggingface_hub
import pytest

from common.errors import UserError
from model import tokenizer
from tests.model.tiny import TOKENIZER


def test_special_tokens_and_a_text_that_comes_back_unchanged():
    loaded = tokenizer.load_tokenizer(TOKENIZER)
    assert (loaded.bos_token_id, loaded.pad_token_id, loaded.eos_token_id) == (0, 1, 2)
    text = "two cats , n't 3 . ünïcode"
    ids = loaded(text).input_ids
    assert (ids[0], ids[-1]) == (0, 2)
    assert loaded(f"<s>{text}</s>", add_special_tokens=False).input_ids == ids
    assert loaded.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [("merges.txt", None, r"merges\.txt: no such file"), ("vocab.json", '{"a": 0', r"vocab\.json: damaged")],
)
def test_missing_or_damaged_file(tmp_path, file, content, message):
    shutil.copytree(TOKENIZER, tmp_path, dirs_exist_ok=True)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=message):
        tokenizer.load_tokenizer(tmp_path)


def test_neither_here_nor_on_the_hub(monkeypatch):
    def unreachable(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(tokenizer, "hf_hub_download", unreachable)
    with pytest.raises(UserError, match=r"'roberta-base': no such folder.*put its vocab\.json and merges"):
        tokenizer.load_tokenizer("roberta-base")


def test_hub_is_asked_only_for_what_is_not_here(monkeypatch):
    asked = []

    def download(repository, name, local_files_only=False):
        asked.append((repository, name, local_files_only))
        if name == "merges.txt" and local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        return str(TOKENIZER / name)

    monkeypatch.setattr(tokenizer, "hf_hub_download", download)
    monkeypatch.setattr(tokenizer, "check_connection", lambda: None)
    assert len(tokenizer.load_tokenizer("roberta-base")) == 378
    assert asked == [
        ("roberta-base", "vocab.json", True),
        ("roberta-base", "merges.txt", True),
        ("roberta-base", "merges.txt", False),
    ]
