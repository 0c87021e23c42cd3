"""Damaged files of the nano experts are one line."""

import shutil

import pytest

from experts.nano.backend import FOLDER, read_network
from model.errors import UserError


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
