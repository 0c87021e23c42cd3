"""Fetching a file from a faulty server: resumed, verified, never partial under its own name."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from common.errors import UserError
from helpers.checkpoints.fetch import ATTEMPTS, Remote, bytes_here, fetch, partial_file
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


@pytest.mark.parametrize(
    ("before", "fault", "ranges"),
    [
        (b"", Fault("cut", times=2), [None, f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]),
        (CONTENT[:100], None, ["bytes=100-"]),  # of an earlier run
        (CONTENT[:100], Fault("whole"), ["bytes=100-"]),  # a server without ranges starts over
        (b"", Fault("longer"), [None]),  # no more is read than was announced
    ],
    ids=["cut", "earlier run", "no ranges", "longer"],
)
def test_a_download_resumes(hub, tmp_path, before, fault, ranges):
    path = tmp_path / "file.bin"
    if before:
        partial_file(path).write_bytes(before)
    if fault:
        hub.faults[NAME] = fault
    assert fetched(hub, path) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert hub.fetched(NAME) == ranges
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [b"", b"x" * 100], ids=["from the server", "from an earlier run"])
def test_wrong_bytes_are_deleted_and_the_next_run_is_right(hub, tmp_path, before):
    path = tmp_path / "file.bin"
    if before:
        partial_file(path).write_bytes(before)
    else:
        hub.faults[NAME] = Fault("other")
    with pytest.raises(UserError, match=r"size or hash .*; run the command again"):
        fetched(hub, path)
    assert list(tmp_path.iterdir()) == []
    fetched(hub, path)
    assert path.read_bytes() == CONTENT


def test_a_connection_without_new_bytes_ends_the_run_and_keeps_the_partial_file(hub, tmp_path):
    path = tmp_path / "file.bin"
    partial_file(path).write_bytes(CONTENT[:-1])
    hub.faults[NAME] = Fault("cut", times=100)  # half of one byte is none
    with pytest.raises(UserError, match=f"{len(CONTENT) - 1} of {len(CONTENT)} bytes are kept"):
        fetched(hub, path)
    assert len(hub.fetched(NAME)) == ATTEMPTS
    assert bytes_here(path) == len(CONTENT) - 1


@pytest.mark.parametrize(("kind", "status"), [("short", "416"), ("gone", "404")])
def test_a_refusal_is_passed_on(hub, tmp_path, kind, status):
    """A file that is shorter than announced is refused once its end has been reached."""
    hub.faults[NAME] = Fault(kind, times=100)
    with pytest.raises(HfHubHTTPError, match=status):
        fetched(hub, tmp_path / "file.bin")
    assert bytes_here(tmp_path / "file.bin") == 0


def test_digests_of_both_kinds(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"hello\n")
    git = "ce013625030ba8dba906f756967f9e9ca394464a"  # from `git hash-object`
    assert Remote("", 6, git).is_at(path)
    assert Remote("", 6, hashlib.sha256(b"hello\n").hexdigest()).is_at(path)
    assert not Remote("", 5, git).is_at(path)
    assert not Remote("", 6, git[::-1]).is_at(path)
    assert not Remote("", 6, git).is_at(tmp_path / "missing")
