"""The real tokenizer of roberta-base, rebuilt from what the wheel `blingfire` carries, for runs offline.

The wheel has RoBERTa's tokens in the order of their ids, and GPT-2's in the order of their merges. Its
library is not loaded. What is made of them is checked against the hashes of the true files.
"""

import hashlib
import json
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # OpenAI's vocab.bpe
TOKENS_SHA256 = "6e8b8d26dcc24d72cd5094c4b3d6d5e50cfb48e0cfc9bd1db1588620a41e3a91"
VOCAB_SIZE = 50265
BYTES = 256  # GPT-2's first tokens are the single bytes
GPT2_SIZE = BYTES + 50_000 + 1  # and its last one ends a text
_SPECIAL = {b"<s>", b"<pad>", b"</s>", b"<unk>", b"<mask>", b"<|endoftext|>"}
_COMMIT = "e" * 40


def write_tokenizer(folder: Path) -> Path:
    """Writes `vocab.json` and `merges.txt` into a folder, which it makes and returns."""
    vocab, merges = _texts()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return folder


def write_cache(hf_home: Path, name: str = "roberta-base") -> None:
    """Lays the files out as the hub's cache has them in the folder that `HF_HOME` names."""
    repository = hf_home / "hub" / f"models--{name.replace('/', '--')}"
    write_tokenizer(repository / "snapshots" / _COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_COMMIT)


@cache
def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(BYTES) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(BYTES + i) for i, byte in enumerate(others)}


@cache
def merge_ranks() -> dict[bytes, int]:
    """GPT-2's tokens in the order of their merges, single bytes first."""
    tokens = _read("gpt2.i2w", GPT2_SIZE, controls=188)
    return {token: rank for rank, token in enumerate(tokens[:-1])}


def parts(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """Merges a word's bytes, the neighbours of the lowest rank first, with the merges below a rank."""
    pieces = [bytes([byte]) for byte in token]
    while len(pieces) > 1:
        pairs = [ranks.get(left + right, below) for left, right in pairwise(pieces)]
        lowest = min(pairs)
        if lowest >= below:
            break
        at = pairs.index(lowest)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


@cache
def _texts() -> tuple[str, str]:
    tokens = [
        token.decode() if token in _SPECIAL else _shown(token)
        for token in _read("roberta.i2w", VOCAB_SIZE, controls=50108)
    ]
    lines = ["#version: 0.2"]
    for token, rank in merge_ranks().items():
        if rank >= BYTES:
            left, right = parts(token, merge_ranks(), below=rank)
            lines.append(f"{_shown(left)} {_shown(right)}")
    merges = "".join(f"{line}\n" for line in lines)
    assert _sha256(merges) == MERGES_SHA256
    assert _sha256("\n".join(tokens)) == TOKENS_SHA256
    return json.dumps({token: index for index, token in enumerate(tokens)}), merges


def _shown(token: bytes) -> str:
    return "".join(byte_characters()[byte] for byte in token)


def _read(name: str, count: int, controls: int) -> list[bytes]:
    """The tokens of a file: their number, their offsets and the end, their bytes.

    Args:
        name: the file's name in the package.
        count: how many tokens it has.
        controls: where the bytes 0 to 3 are, which it stores as spaces.
    """
    (package,) = find_spec("blingfire").submodule_search_locations
    content = (Path(package) / name).read_bytes()
    header = np.frombuffer(content, "<u4", count=64)
    start = int(np.flatnonzero(header == count)[0]) + 1
    offsets = np.frombuffer(content, "<u4", count=count + 1, offset=4 * start).tolist()
    body = content[4 * (start + count + 1) :]
    tokens = [body[begin:end] for begin, end in pairwise(offsets)]
    tokens[controls : controls + 4] = [bytes([byte]) for byte in range(4)]
    return tokens


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
