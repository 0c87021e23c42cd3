"""Damaged files of the nano experts are one line."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import UserError
from nano.expert.backend import FOLDER, read_network


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "experts")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_truncated_or_missing_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(UserError) as error:
        read_network(folder)
    assert str(error.value).startswith(f"{folder}: damaged nano experts")
    assert "\n" not in str(error.value)
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing; make it with: python -m nano\.expert\.train"):
        read_network(folder)


@pytest.mark.parametrize("change", [lambda x: x * torch.nan, lambda x: x.to(torch.int8)])
def test_invalid_values_are_named(folder, change):
    state = load_file(folder / "model.safetensors")
    key = next(key for key, value in state.items() if value.is_floating_point())
    save_file(state | {key: change(state[key])}, folder / "model.safetensors")
    with pytest.raises(UserError, match=key) as error:
        read_network(folder)
    assert "\n" not in str(error.value)
