"""Checkpoints of the hub: whether one can be had is known before it is loaded."""

import pytest
from huggingface_hub.errors import HFValidationError

from common.errors import UserError
from experts.hub_networks import is_within_reach, load_checkpoint


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
def test_what_is_here_is_not_asked_for_elsewhere(name, reached, asked, tmp_path, monkeypatch):
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
    def load(checkpoint: str) -> None:
        raise AssertionError("is not tried")

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"me/net': is no folder, and not here; http://127.0.0.1:1: c"):
        load_checkpoint(load, "me/net")
    assert load_checkpoint(str, str(tmp_path)) == str(tmp_path)
