"""Checkpoints of the hub and of folders: whether one can be had is known early, and a bad one is named in a line."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import HFValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection

from common.errors import UserError
from experts.hub_networks import from_hub, is_within_reach, load_checkpoint, local_files
from tests.experts.tiny_clip import save_clip


@pytest.mark.parametrize(
    ("name", "reached", "asked"),
    [
        ("folder", True, []),
        ("in/cache", True, [True]),  # needs no connection
        ("on/hub", True, [True, False]),
        ("no/where", False, [True, False]),
        ("no name", False, [True, False]),
    ],
)
def test_the_hub_is_asked_only_for_what_is_not_here(name, reached, asked, tmp_path, monkeypatch):
    calls = []

    def download(repository: str, file: str, *, local_files_only: bool) -> None:
        assert (repository, file) == (name, "config.json")
        calls.append(local_files_only)
        if name == "no name":
            raise HFValidationError
        if name != ("in/cache" if local_files_only else "on/hub"):
            raise OSError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("experts.hub_networks.hf_hub_download", download)
    monkeypatch.setattr("experts.hub_networks.check_connection", lambda: None)
    assert is_within_reach(name) == reached
    assert calls == asked


def test_without_a_network_a_checkpoint_is_a_line_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"me/net': is no folder, and not here; http://127.0.0.1:1: c"):
        load_checkpoint(lambda _: pytest.fail("is not tried"), "me/net")
    assert load_checkpoint(str, str(tmp_path)) == str(tmp_path)


def spoil(folder: Path, kind: str) -> None:
    weights = folder / "model.safetensors"
    state = load_file(weights)
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "no weights":
        weights.unlink()
    elif kind == "another network":
        (folder / "config.json").write_text(json.dumps({"model_type": "dinov2", "hidden_size": 16}))
    elif kind == "lacks a key":
        del state["text_projection.weight"]
        save_file(state, weights, {"format": "pt"})
    else:
        state["text_projection.weight"][0] = torch.nan
        save_file(state, weights, {"format": "pt"})


@pytest.mark.parametrize("kind", ["truncated", "no weights", "another network", "lacks a key", "not finite"])
def test_a_bad_checkpoint_is_named_in_a_line(kind, tmp_path):
    save_clip(tmp_path)
    assert all(path.is_file() for path in local_files(str(tmp_path)))
    from_hub(CLIPTextModelWithProjection, str(tmp_path))
    spoil(tmp_path, kind)
    with pytest.raises(UserError, match=f"checkpoint '{tmp_path}': ") as error:
        from_hub(CLIPTextModelWithProjection, str(tmp_path))
    assert "\n" not in str(error.value)
    if kind == "lacks a key":
        assert "text_projection.weight" in str(error.value)
