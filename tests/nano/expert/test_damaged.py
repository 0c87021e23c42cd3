"""Damaged files of the nano experts are one line."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import UserError
from nano.expert.backend import FOLDER, read_network


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_truncated_file_is_named(tmp_path, name):
    folder = shutil.copytree(FOLDER, tmp_path / "experts")
    (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(UserError) as error:
        read_network(folder)
    assert str(error.value).startswith(f"{folder}: damaged nano experts")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = shutil.copytree(FOLDER, tmp_path / "experts")
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        read_network(folder)


@pytest.mark.parametrize("change", [lambda x: x * torch.nan, lambda x: x.to(torch.int8)])
def test_values_that_no_network_has_are_named(tmp_path, change):
    folder = shutil.copytree(FOLDER, tmp_path / "experts")
    state = load_file(folder / "model.safetensors")
    key = next(key for key, value in state.items() if value.is_floating_point())
    save_file(state | {key: change(state[key])}, folder / "model.safetensors")
    with pytest.raises(UserError, match=key) as error:
        read_network(folder)
    assert "\n" not in str(error.value)
