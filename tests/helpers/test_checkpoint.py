"""Weights: safe reading, strict loading, the network read off a released file."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.checkpoint import POSITIONS, find_weights, load_weights, read_weights, write_weights
from helpers.config import read_model_size
from helpers.models import infer_config
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.errors import UserError
from model.tokenizer import load_tokenizer
from tests.parity import goldens
from tests.parity.goldens import EXPERTS

TINY = goldens.config(16, "prismer")


def caption_model(config: PrismerConfig = TINY) -> PrismerCaption:
    return PrismerCaption(config, load_tokenizer(goldens.FOLDER / "tokenizer"))


@pytest.fixture(scope="module")
def model() -> PrismerCaption:
    return caption_model()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_both_formats_load_to_the_same_weights(model, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".bin":
        torch.save(model.state_dict(), path)
    else:
        write_weights(path, model.state_dict())
    other = caption_model()
    load_weights(other, read_weights(find_weights(tmp_path)), str(path))
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_every_released_key_is_written_tied_ones_too(model, tmp_path):
    write_weights(tmp_path / "model.safetensors", model.state_dict())
    assert read_weights(tmp_path / "model.safetensors").keys() == model.state_dict().keys()


def test_matrices_can_be_written_in_half_precision_and_vectors_stay(model, tmp_path):
    write_weights(tmp_path / "model.safetensors", model.state_dict(), dtype=torch.float16)
    state = read_weights(tmp_path / "model.safetensors")
    assert state["expert_encoder.conv1.rgb.weight"].dtype == torch.float16
    assert state["expert_encoder.ln_pre.weight"].dtype == torch.float32


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
    ],
)
def test_a_mismatch_names_the_keys(model, change, expected):
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(UserError) as error:
        load_weights(caption_model(), state, "file.bin")
    assert str(error.value).startswith("file.bin: made for another model")
    assert expected in str(error.value)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "pytorch_model.bin", tmp_path / "was_run"
    torch.save({"weight": Malicious(trace)}, path)
    with pytest.raises(UserError, match=str(path)):
        read_weights(path)
    path.write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(UserError, match=str(path)):
        read_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_truncated_file_is_named(model, tmp_path, name):
    path = tmp_path / name
    write_weights(path, model.state_dict()) if "safetensors" in name else torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(UserError, match="truncated or not a checkpoint"):
        read_weights(path)


def test_a_folder_without_weights_says_what_it_expects(tmp_path):
    with pytest.raises(UserError, match=r"expected model.safetensors or pytorch_model.bin"):
        find_weights(tmp_path)


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("experts", [EXPERTS, ()])
def test_the_network_of_a_released_file_is_read_off_its_keys(size, experts):
    entry = read_model_size(f"prismer_{size}")
    config = PrismerConfig(entry.vision, entry.text, experts, entry.vision.patch_size * 20)
    with torch.device("meta"):
        state = caption_model(config).state_dict()
    assert state[POSITIONS].shape[0] == 400
    assert infer_config(state, "released") == (config, "roberta-base")
