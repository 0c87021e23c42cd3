"""Converting checkpoints to other formats and precisions, and their summary."""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

import helpers.checkpoints.convert
import helpers.checkpoints.summary
from common.errors import UserError
from common.files import ROOT, write_json
from common.overwrite import NOTES
from helpers.checkpoints.convert import convert
from helpers.checkpoints.load import InferenceDefaults, describe, load_model, restore_network
from helpers.checkpoints.summary import summary
from helpers.checkpoints.weight_files import read_weights
from model.captioning import PrismerCaption
from model.prismer import Prismer
from tests.parity import goldens
from tests.parity.seeded_weights import seeded_state_dict

TINY = goldens.config(16, "prismer")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A checkpoint as the original leaves it, with a description since no size is so small."""
    folder = tmp_path / "original"
    folder.mkdir()
    model = Prismer(TINY, tokenizer=None)
    model.load_state_dict(seeded_state_dict(model.state_dict()))  # load_state_dict ties weights
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    torch.save({"epoch": 2}, folder / "epoch.pt")
    usage = InferenceDefaults(prefix="A photo of")
    write_json(folder / "model.json", describe(TINY, str(goldens.FOLDER / "tokenizer"), folder, usage))
    return folder


def test_there_and_back_nothing_is_lost(original, tmp_path):
    ours, back = tmp_path / "ours" / "model.safetensors", tmp_path / "back" / "pytorch_model.bin"
    convert(original, ours, "float32")
    convert(ours, back, "float32")
    before = torch.load(original / "pytorch_model.bin", weights_only=True)
    after = torch.load(back, weights_only=True)
    assert list(after) == list(before)
    assert read_weights(ours).keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(after[key], value), key
    # Tied weights are stored once, as in the original's files.
    words, head = (after[f"text_decoder.{name}.weight"] for name in WORDS)
    assert words.data_ptr() == head.data_ptr()
    assert sorted(path.name for path in back.parent.iterdir()) == [NOTES, "model.json", "pytorch_model.bin"]
    assert load_model(PrismerCaption, back.parent).usage.prefix == "A photo of"


WORDS = ("roberta.embeddings.word_embeddings", "lm_head.decoder")


def test_matrices_in_half_precision_and_vectors_not(original, tmp_path):
    convert(original, tmp_path / "half.bin", "float16")
    before = read_weights(original / "pytorch_model.bin")
    after = torch.load(tmp_path / "half.bin", weights_only=True)
    for key, value in before.items():
        dtype = torch.float16 if value.ndim > 1 and value.is_floating_point() else value.dtype
        assert torch.equal(after[key], value.to(dtype)), key
    words, head = (after[f"text_decoder.{name}.weight"] for name in WORDS)
    assert words.data_ptr() == head.data_ptr()


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("kind", ["prismer", "prismerz"])
def test_every_released_key_is_used_and_written(kind, size):
    """In their order: `convert` writes the state dict of the restored network."""
    specs = ROOT / "tests" / "parity" / "state_dict_specs"
    shapes = json.loads(gzip.decompress((specs / f"{kind}_{size}_480.json.gz").read_bytes()))
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    network, description = restore_network(state, Path(f"{kind}/pytorch_model.bin"))
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes
    assert list(network.state_dict()) == list(shapes)
    assert description.network.image_resolution == 480


def test_the_commands(tmp_path, monkeypatch, capsys):
    source, target = ROOT / "nano" / "caption_prismer_nano", tmp_path / "bf16.safetensors"
    for module, *arguments in (
        (helpers.checkpoints.convert, source, target, "--dtype", "bfloat16"),
        (helpers.checkpoints.summary, target),
    ):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["model"] == "prismer_nano"
    assert lines["experts"] == "depth, normal, seg_scenes, edge, obj_detection, ocr_detection"
    assert lines["resolution"] == "images 128, labels 128"
    assert lines["parameters"].endswith(" M")
    assert lines["prefix"] == '"A picture of"'
    assert lines["precision"] == "bfloat16, float32"
    assert lines["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    ours, theirs = (json.loads((folder / "model.json").read_text()) for folder in (tmp_path, source))
    assert ours["config"] == theirs["config"]
    assert (ours["tokenizer"], ours["class_tables"]) == (theirs["tokenizer"], theirs["class_tables"])
    monkeypatch.setattr(sys, "argv", ["convert", str(target), str(tmp_path / "weights.pt")])
    with pytest.raises(UserError, match=r"weights\.pt: name a file that ends with \.safetensors or \.bin"):
        helpers.checkpoints.convert.main()


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.bin")
    with pytest.raises(UserError, match=r"other\.bin: not a Prismer checkpoint"):
        convert(tmp_path / "other.bin", tmp_path / "model.safetensors", "float32")
    with pytest.raises(UserError, match="no weights there"):
        summary(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["other.bin"]
