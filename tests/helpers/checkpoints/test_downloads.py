"""What is planned and done for a file, without the script: room, locks, copies."""

import errno
import hashlib
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants

from helpers.checkpoints import downloads
from helpers.checkpoints.downloads import State, Step, download
from helpers.checkpoints.released import SOURCE, WebFile
from tests.end_to_end.hub_server import Fault, Hub

NAME = f"{SOURCE}/dataset/file.bin"
CONTENT = bytes(range(256)) * 100


def test_two_runs_fetch_a_file_once(tmp_path, monkeypatch):
    """The second waits for the first, whose connection stalls for a while."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    file = WebFile("dataset/file.bin", tmp_path / "file.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    errors = []

    def run() -> None:
        try:
            download([file], hide_bar=True)
        except BaseException as error:
            errors.append(error)
            raise

    with Hub(raw={NAME: CONTENT}) as hub:
        hub.faults[NAME] = Fault("stall")
        monkeypatch.setenv(downloads.RAW_ENDPOINT, hub.url)
        runs = [threading.Thread(target=run, daemon=True) for _ in range(2)]
        runs[0].start()
        assert hub.stalled.wait(60)
        runs[1].start()
        for each in runs:
            each.join(60)
        assert not errors
        assert hub.fetched(NAME) == [None, f"bytes={len(CONTENT) // 2}-"]
    assert file.target.read_bytes() == CONTENT


def step(size: int, stored: Path, target: Path | None) -> Step:
    return Step("file", size, State.MISSING, stored, target, lambda advance: None, lambda: None)


def test_room_is_counted_by_file_system_and_for_copies(tmp_path, monkeypatch):
    cache, project = tmp_path / "cache", tmp_path / "project"
    cache.mkdir()
    project.mkdir()
    steps = [step(5, cache / "a", project / "a"), step(7, cache / "b", None), step(2, project / "c", None)]
    (_, needed), *others = downloads._space_needed(steps)
    assert (needed, others) == (14, [])  # on one file system, links take no room
    monkeypatch.setattr(downloads, "_device", lambda path: int(path.is_relative_to(project)))
    assert sorted(downloads._space_needed(steps)) == [(cache, 12), (project, 7)]


def test_a_copy_for_which_there_is_no_room_names_its_place(tmp_path, monkeypatch):
    (tmp_path / "blob").write_bytes(CONTENT)

    def fail(code: int, *_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "blob"))

    monkeypatch.setattr(os, "link", partial(fail, errno.EXDEV))
    monkeypatch.setattr(shutil, "copyfile", partial(fail, errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device") as error:
        downloads._link(tmp_path / "blob", tmp_path / "target")
    assert error.value.filename == str(tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob"]
