"""Fetching a file from a server that has its faults: resumed, checked, never left half under its name."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from common.errors import UserError
from helpers.checkpoints.fetch import ATTEMPTS, Remote, bytes_here, fetch, is_intact, partial_file
from tests.end_to_end.hub_server import Fault, Hub

NAME = "repository/commit/file.bin"
CONTENT = bytes(range(256)) * 1000
HALF = len(CONTENT) // 2


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Hub(raw={NAME: CONTENT}) as hub:
        yield hub


def fetched(hub: Hub, path: Path) -> int:
    """Fetches the file; returns the bytes that a progress bar would have counted."""
    counted = [bytes_here(path)]
    remote = Remote(f"{hub.url}/{NAME}", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    fetch(remote, path, counted.append)
    return sum(counted)


def test_a_cut_connection_goes_on_where_it_stopped(hub, tmp_path):
    hub.faults[NAME] = Fault("cut", times=2)
    path = tmp_path / "new" / "file.bin"
    assert fetched(hub, path) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert hub.fetched(NAME) == [None, f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]
    assert list(path.parent.iterdir()) == [path]


def test_no_more_is_read_than_was_announced(hub, tmp_path):
    hub.faults[NAME] = Fault("longer")
    assert fetched(hub, tmp_path / "file.bin") == len(CONTENT)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_what_an_earlier_run_left_is_continued(hub, tmp_path):
    path = tmp_path / "file.bin"
    partial_file(path).write_bytes(CONTENT[:100])
    assert fetched(hub, path) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert hub.fetched(NAME) == ["bytes=100-"]


def test_a_server_without_ranges_is_read_from_the_beginning(hub, tmp_path):
    path = tmp_path / "file.bin"
    partial_file(path).write_bytes(CONTENT[:100])
    hub.faults[NAME] = Fault("whole")
    assert fetched(hub, path) == len(CONTENT)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"", b"x" * 100], ids=["from the server", "from an earlier run"])
def test_wrong_bytes_are_deleted_and_the_next_run_is_right(hub, tmp_path, left):
    path = tmp_path / "file.bin"
    if left:
        partial_file(path).write_bytes(left)
    else:
        hub.faults[NAME] = Fault("other")
    with pytest.raises(UserError, match=r"differs from what was announced .*; run the command again"):
        fetched(hub, path)
    assert list(tmp_path.iterdir()) == []
    fetched(hub, path)
    assert path.read_bytes() == CONTENT


def test_a_connection_that_brings_nothing_ends_the_run_and_keeps_what_came(hub, tmp_path):
    path = tmp_path / "file.bin"
    partial_file(path).write_bytes(CONTENT[:-1])
    hub.faults[NAME] = Fault("cut", times=100)  # half of one byte is none
    with pytest.raises(UserError, match=f"{len(CONTENT) - 1} of {len(CONTENT)} bytes are kept"):
        fetched(hub, path)
    assert len(hub.fetched(NAME)) == ATTEMPTS
    assert bytes_here(path) == len(CONTENT) - 1


def test_a_file_that_is_shorter_than_announced_is_not_tried_for_ever(hub, tmp_path):
    path = tmp_path / "file.bin"
    hub.faults[NAME] = Fault("short", times=100)
    with pytest.raises(HfHubHTTPError, match="416"):
        fetched(hub, path)
    assert bytes_here(path) == 0


def test_a_refusal_is_passed_on(hub, tmp_path):
    hub.faults[NAME] = Fault("gone")
    with pytest.raises(HfHubHTTPError, match="404"):
        fetched(hub, tmp_path / "file.bin")


def test_digests_of_both_lengths(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"hello\n")
    git = "ce013625030ba8dba906f756967f9e9ca394464a"  # of `git hash-object`
    assert is_intact(path, 6, git)
    assert is_intact(path, 6, hashlib.sha256(b"hello\n").hexdigest())
    assert not is_intact(path, 5, git)
    assert not is_intact(path, 6, git[::-1])
    assert not is_intact(tmp_path / "missing", 6, git)
