"""Weights: safe reading, strict loading, the network read off a released file."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.files import ROOT, write_json
from common.weight_checks import is_finite
from helpers.checkpoints.load import InferenceDefaults, describe, infer_config, restore_model, without_memory
from helpers.checkpoints.weight_files import POSITIONS, find_weights, load_weights, read_weights, write_weights
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.prismer import Prismer
from model.sizes import read_model_size
from model.tokenizer import load_tokenizer
from tests.parity import goldens
from tests.parity.goldens import EXPERTS

TINY = goldens.config(16, "prismer")
TOKENIZER = str(goldens.FOLDER / "tokenizer")


def caption_model(config: PrismerConfig = TINY) -> PrismerCaption:
    return PrismerCaption(config, load_tokenizer(TOKENIZER))


@pytest.fixture(scope="module")
def model() -> PrismerCaption:
    return caption_model()


def write_shards(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """Three shards and their index, as transformers names them."""
    index = folder / "model.safetensors.index.json"
    keys = list(state)
    weight_map = {key: f"model-{1 + i % 3:05}-of-00003.safetensors" for i, key in enumerate(keys)}
    for name in set(weight_map.values()):
        write_weights(folder / name, {key: state[key] for key in keys if weight_map[key] == name})
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


FORMATS = {
    "released": lambda folder, state: torch.save(state, folder / "pytorch_model.bin"),
    "bin": lambda folder, state: write_weights(folder / "pytorch_model.bin", state),
    "safetensors": lambda folder, state: write_weights(folder / "model.safetensors", state),
    "shards": write_shards,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_format_and_precision_restores_the_same_weights(model, tmp_path, name, dtype):
    """The restored model is float32."""
    stored = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    FORMATS[name](tmp_path, stored)
    other = restore_model(PrismerCaption, TINY, TOKENIZER, read_weights(find_weights(tmp_path)), "file")
    assert list(other.state_dict()) == list(model.state_dict())
    for key, value in model.state_dict().items():
        assert other.state_dict()[key].dtype == value.dtype, key
        assert torch.equal(other.state_dict()[key], stored[key].to(value.dtype)), key
    assert all(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize(
    ("name", "bad", "dtype"),
    [
        ("released", math.nan, torch.float32),
        ("safetensors", math.inf, torch.float16),
        ("shards", -math.inf, torch.float32),
    ],
)
def test_weights_that_are_not_finite_are_named(model, tmp_path, name, bad, dtype):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    key = "text_decoder.lm_head.dense.weight"
    state[key] = state[key].to(dtype)
    state[key][-1, -1] = bad
    FORMATS[name](tmp_path, state)
    with pytest.raises(UserError, match=rf"^{tmp_path}/.*: '{key}' holds values that are not finite"):
        read_weights(find_weights(tmp_path))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64])
def test_numbers_that_are_no_floats_are_no_weights(model, dtype):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["expert_encoder.ln_pre.weight"] = state["expert_encoder.ln_pre.weight"].to(dtype)
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(UserError, match=rf"^f: .*'expert_encoder.ln_pre.weight' is {kind}, not"):
        load_weights(caption_model(), state, "f")


def test_the_greatest_numbers_are_weights():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        largest = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
        assert is_finite(largest)
        assert is_finite(-largest)
    assert is_finite(torch.zeros(0))
    assert is_finite(torch.ones(3).to(torch.float8_e4m3fn))


def test_a_restored_model_is_whole(model, tmp_path):
    """It was built without memory: nothing of it may be left there, and tied weights are still one."""
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    state = read_weights(tmp_path / "pytorch_model.bin")
    other = restore_model(PrismerCaption, TINY, TOKENIZER, state, "file").eval()
    assert not any(tensor.is_meta for tensor in chain(other.parameters(), other.buffers()))
    embeddings, head = other.text_decoder.roberta["embeddings"], other.text_decoder.lm_head
    assert embeddings.word_embeddings.weight is head.decoder.weight
    assert head.bias is head.decoder.bias
    assert dict(model.named_parameters()).keys() == dict(other.named_parameters()).keys()
    inputs = goldens.inputs(goldens.golden(16, "prismer"))
    assert other.generate(inputs, "A picture of") == model.eval().generate(inputs, "A picture of")


@pytest.mark.parametrize("name", ["bin", "safetensors"])
def test_weights_do_not_change_with_their_file(model, tmp_path, name):
    FORMATS[name](tmp_path, model.state_dict())
    path = find_weights(tmp_path)
    state = read_weights(path)
    with path.open("r+b") as file:  # the same file, not another in its place
        file.write(b"\xff" * path.stat().st_size)
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value), key


MEASURE = """
import sys
from pathlib import Path
from helpers.checkpoints.weight_files import read_weights
from helpers.checkpoints.load import restore_network

def memory(kind):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[kind].split()[0])

before = memory("VmRSS")
for name in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    network, _ = restore_network(read_weights(Path(name)), Path(name))
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    print((memory("VmHWM") - before) / weights)
    del network
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_loading_takes_no_more_memory_than_the_weights(tmp_path):
    text = replace(goldens.TEXT, hidden_size=768, heads=12, ffn_size=3072)
    vision = replace(read_model_size("prismer_base").vision, layers=2)
    config = PrismerConfig(vision, text, (), 96)
    with without_memory():
        shapes = Prismer(config, tokenizer=None).state_dict()
    state = {key: torch.zeros_like(value, device="cpu") for key, value in shapes.items()}
    files = [tmp_path / name for name in ("model.safetensors", "pytorch_model.bin", "half.bin")]
    write_json(tmp_path / "model.json", describe(config, "", Path("tables"), InferenceDefaults()))
    for file in files:
        write_weights(file, state, torch.float16 if file.stem == "half" else None)
    assert files[0].stat().st_size > 150e6
    command = [sys.executable, "-c", MEASURE, *map(str, files)]
    # Else glibc keeps freed blocks, the larger the more there were before, and they count as taken.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peaks = [float(line) for line in done.stdout.split()]
    assert len(peaks) == 3
    assert max(peaks) < 1.2, peaks


def test_an_older_file_without_position_ids_loads(model):
    state = {key: value for key, value in model.state_dict().items() if "position_ids" not in key}
    load_weights(caption_model(), state, "old")


def test_positions_of_another_resolution_are_resized(model):
    other = caption_model(replace(TINY, image_resolution=64))
    load_weights(other, model.state_dict(), "at 96")
    assert other.expert_encoder.positional_embedding.shape == (16, 128)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("expert_encoder.ln_pre.weight"), "missing 'expert_encoder.ln_pre.weight'"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected 'extra'"),
        (
            lambda state: state.update({"expert_encoder.ln_pre.weight": torch.zeros(3)}),
            "'expert_encoder.ln_pre.weight' is [3], the model has [128]",
        ),
        (
            lambda state: state.update({POSITIONS: torch.zeros(0, 128)}),
            f"'{POSITIONS}' is [0, 128], the model has [36, 128]",
        ),
        (lambda state: state.update({f"a{i}": torch.zeros(1) for i in range(5)}), "'a2' and 2 more; check prismer_"),
    ],
)
def test_a_mismatch_names_the_keys(model, change, expected):
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(UserError) as error:
        load_weights(caption_model(), state, "file.bin")
    assert str(error.value).startswith("file.bin: made for another model")
    assert expected in str(error.value)


def test_a_folder_without_weights_says_what_it_expects(tmp_path):
    expected = r"expected model.safetensors, model.safetensors.index.json, pytorch_model.bin or checkpoint.json"
    with pytest.raises(UserError, match=expected):
        find_weights(tmp_path)


@pytest.mark.parametrize(
    ("shard", "expected"),
    [
        (3, "'3' is not the name of a shard"),
        ("../model.safetensors", "'../model.safetensors' is not the name of a shard"),
        ("evil.bin", "'evil.bin' is not the name of a shard"),
        ("gone.safetensors", "gone.safetensors: no such file"),
    ],
)
def test_an_index_names_shards_in_its_folder(tmp_path, shard, expected):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match=expected):
        read_weights(find_weights(tmp_path))


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize(("experts", "resolution"), [(EXPERTS, 480), (EXPERTS, 224), ((), 384), ((), 448)])
def test_the_network_of_a_released_file_is_inferred_from_its_keys(size, experts, resolution):
    entry = read_model_size(f"prismer_{size}")
    config = PrismerConfig(entry.vision, entry.text, experts, resolution)
    with torch.device("meta"):
        state = caption_model(config).state_dict()
    assert infer_config(state, "released") == (config, "roberta-base")


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (POSITIONS, (128,)),
        (POSITIONS, (0, 128)),
        ("expert_encoder.conv1.rgb.weight", ()),
        ("text_decoder.roberta.embeddings.word_embeddings.weight", (7,)),
    ],
)
def test_a_key_of_another_shape_is_no_released_file(model, key, shape):
    with pytest.raises(UserError, match=rf"file: not a Prismer checkpoint: '{key}' is \[.*, not \("):
        infer_config(model.state_dict() | {key: torch.zeros(shape)}, "file")


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"a": torch.eye(2).to_sparse()}, {"a": 1}, [1]])
def test_a_torch_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: not a state dict of tensors"):
        read_weights(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_umask_says_who_may_read_weights(tmp_path, name):
    (tmp_path / "usual").touch()
    write_weights(tmp_path / name, {"a": torch.ones(1)})
    assert (tmp_path / name).stat().st_mode == (tmp_path / "usual").stat().st_mode
