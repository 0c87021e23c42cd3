"""Damaged files of every kind that a user gives: each is read, or is a user's mistake told in one line."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.yaml_config import read_config
from dataset.class_tables import read_class_tables
from dataset.image_list import read_list
from dataset.label_files import pack_label, read_instances, read_picture, read_words
from dataset.label_manifest import read_manifest
from dataset.questions import read_answers, read_questions
from dataset.reference_captions import read_ground_truth, read_nocaps
from dataset.shards.shard_folder import ShardFolder, open_folder
from dataset.shards.writer import write_shard
from experts.generate import GenerateConfig
from helpers.checkpoints.load import read_description
from helpers.checkpoints.weight_files import read_weights, weight_files
from helpers.inference.attribution_file import read_attribution
from helpers.training.resume.folders import read_marker
from helpers.training.settings import CaptionConfig, VQAConfig
from model.modalities import modality
from model.sizes import read_model_size
from model.tokenizer import load_tokenizer
from tests.mutations import mutated

NANO = Path("nano")
_INSTANCES = modality("obj_detection")
_PICTURE = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30) % 5)
_ROWS = [{"image": "a.jpg", "caption": ["a cat", "two"], "question": "what?", "answer": ["cat"]}] * 2
_COCO = {"images": [{"id": 1, "domain": "in-domain"}], "annotations": [{"image_id": 1, "id": 5, "caption": "a cat"}]}


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _safetensors() -> bytes:
    header = _json({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"x": "y"}})
    return struct.pack("<Q", len(header)) + header + bytes(8)


def _torch() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def _tables() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, labels=np.array(["a", "b"]), features=np.zeros((2, 64), np.float32))
    return buffer.getvalue()


def _png() -> bytes:
    buffer = io.BytesIO()
    _PICTURE.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _shard() -> bytes:
    with TemporaryDirectory() as folder:
        tar = Path(folder) / "00000.tar"
        write_shard(tar, [("a.jpg", b"x" * 600), ("a.txt", b"y"), ("b.jpg", b"z")])
        return tar.read_bytes()


def _read_shards(path: Path) -> None:
    path.with_name(f"{path.name}.index").unlink(missing_ok=True)
    folder = ShardFolder(path.parent, [path.name])
    for name in folder.files[0]:
        try:
            folder.read(name, 0)
        except OSError:  # which skips the record
            continue


KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "list.json": ("list.json", lambda: _json(_ROWS), lambda path: read_list(path, ("caption",))),
    "list.jsonl": ("list.jsonl", lambda: b"\n".join(map(_json, _ROWS)), lambda path: read_list(path, ("caption",))),
    "list.csv": (
        "list.csv",
        lambda: b'image,caption\na.jpg,"a cat, black"\nb.jpg,dog\n',
        lambda path: read_list(path, ("caption",)),
    ),
    "questions": ("list.json", lambda: _json(_ROWS), lambda path: read_questions(path, "train")),
    "answers": ("answers.json", lambda: _json(["yes", "no"]), read_answers),
    "ground truth": ("gt.json", lambda: _json(_COCO), read_ground_truth),
    "NoCaps": ("gt.json", lambda: _json(_COCO), read_nocaps),
    "caption.yaml": (
        "caption.yaml",
        Path("configs/caption_nano.yaml").read_bytes,
        lambda path: read_config(path, CaptionConfig, "coco"),
    ),
    "vqa.yaml": ("vqa.yaml", Path("configs/vqa_nano.yaml").read_bytes, lambda path: read_config(path, VQAConfig)),
    "experts.yaml": (
        "experts.yaml",
        Path("configs/experts.yaml").read_bytes,
        lambda path: read_config(path, GenerateConfig),
    ),
    "models.yaml": (
        "models.yaml",
        Path("configs/models.yaml").read_bytes,
        lambda path: read_model_size("prismer_nano", path),
    ),
    "model.json": (
        "model.json",
        (NANO / "caption_prismer_nano" / "model.json").read_bytes,
        lambda path: read_description(path.with_name("model.safetensors"), {}),
    ),
    "safetensors": ("model.safetensors", _safetensors, read_weights),
    "torch": ("pytorch_model.bin", _torch, read_weights),
    "index": (
        "model.safetensors.index.json",
        lambda: _json({"weight_map": {"a": "model-1.safetensors"}}),
        weight_files,
    ),
    "marker": (
        "checkpoint.json",
        lambda: _json({"files": {"a.pt": {"bytes": 3, "sha256": "x"}}}),
        lambda path: read_marker(path.parent),
    ),
    "class tables": ("coco.npz", _tables, lambda path: read_class_tables(path.parent, ["coco"])),
    "label": ("a.png", _png, lambda path: read_picture(modality("normal"), path)),
    "packed label": ("a.webp", lambda: pack_label(_PICTURE, {"0": 5}), lambda path: read_picture(_INSTANCES, path)),
    "instances": ("a.json", lambda: _json({"0": 5, "1": 700}), read_instances),
    "words": ("a.json", lambda: _json({"0": {"text": "a", "features": [0.5] * 64}}), read_words),
    "words.pt": ("a.pt", _torch, read_words),
    "manifest": ("manifest.json", lambda: _json({"expert": "x"}), lambda path: read_manifest(path.parent)),
    "attribution": ("a.json", lambda: _json({"text": "a", "log_probs": [0.1]}), read_attribution),
    "shard": ("00000.tar", _shard, _read_shards),
    "shards.json": ("shards.json", lambda: _json({"shards": ["a.tar"]}), lambda path: open_folder(path.parent)),
}


def read_all(reader: Callable[[Path], object], path: Path, whole: bytes, count: int, seed: int) -> int:
    """Reads damaged forms of a file; how many were refused. Whatever else is raised goes through."""
    refused = 0
    for damaged in mutated(whole, count, seed):
        path.write_bytes(damaged)
        try:
            reader(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    return refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_a_line(kind: str, tmp_path: Path) -> None:
    name, whole, reader = KINDS[kind]
    refused = read_all(reader, tmp_path / name, whole(), 40, seed=len(kind))
    assert refused or kind == "shard"  # whose reader goes on behind the damage


def test_a_damaged_tokenizer_is_a_line(tmp_path: Path) -> None:
    source = NANO / "tokenizer"
    for name in ("vocab.json", "merges.txt"):
        for other in ("vocab.json", "merges.txt"):
            (tmp_path / other).write_bytes((source / other).read_bytes())
        read_all(lambda _: load_tokenizer(tmp_path), tmp_path / name, (source / name).read_bytes(), 8, seed=1)
