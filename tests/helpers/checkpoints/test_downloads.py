"""Downloads without the script: concurrent runs, room on the disk, copies, and the released PCA as arrays."""

import errno
import hashlib
import os
import pickle
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from common.errors import UserError
from helpers.checkpoints import downloads
from helpers.checkpoints.downloads import download
from helpers.checkpoints.pca import convert_pca
from helpers.checkpoints.released import SOURCE, HubFile, WebFile
from tests.end_to_end.hub_server import Fault, Hub
from tests.helpers.checkpoints.hub_cache import cache_file

NAME = f"{SOURCE}/dataset/file.bin"
CONTENT = bytes(range(256)) * 100


def web_file(target: Path, size: int = len(CONTENT)) -> WebFile:
    return WebFile("dataset/file.bin", target, size, hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with Hub(raw={NAME: CONTENT}) as hub:
        monkeypatch.setenv(downloads.RAW_ENDPOINT, hub.url)
        yield hub


def test_two_runs_fetch_a_file_once(hub, tmp_path, monkeypatch):
    """The second waits for the first, whose connection stalls for a while."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    file, errors = web_file(tmp_path / "file.bin"), []

    def run() -> None:
        try:
            download([file], hide_bar=True)
        except BaseException as error:
            errors.append(error)
            raise

    hub.faults[NAME] = Fault("stall")
    runs = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    runs[0].start()
    assert hub.stalled.wait(60)
    runs[1].start()
    for each in runs:
        each.join(60)
    assert not errors
    assert hub.fetched(NAME) == [None, f"bytes={len(CONTENT) // 2}-"]
    assert file.target.read_bytes() == CONTENT


def test_a_disk_without_room_is_named_before_the_download(hub, tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: needs .*B are free; make room"):
        download([web_file(tmp_path / "file.bin", size=10**18)], hide_bar=True)
    assert hub.fetched(NAME) == []
    assert list(tmp_path.iterdir()) == []


def test_a_copy_without_room_names_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = cache_file(tmp_path / "cache", "a/b", "file.bin", CONTENT)

    def fail(code: int, *_: object) -> None:
        raise OSError(code, os.strerror(code), str(cached))

    monkeypatch.setattr(os, "link", partial(fail, errno.EXDEV))
    target = tmp_path / "target.bin"
    download([HubFile("a/b", ("file.bin",), target)])  # copied
    assert target.read_bytes() == CONTENT
    target.unlink()
    monkeypatch.setattr(shutil, "copyfile", partial(fail, errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device") as error:
        download([HubFile("a/b", ("file.bin",), target)])
    assert error.value.filename == str(target)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_arrays_of_the_pca_are_written_once(tmp_path):
    arrays = tmp_path / "clip_pca.npz"
    np.savez(arrays, mean=np.zeros(768), components=np.zeros((64, 768)))
    before = arrays.read_bytes()
    convert_pca(tmp_path / "missing.pkl", arrays)
    assert arrays.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", b"text"])
def test_damaged_arrays_of_the_pca_are_replaced(tmp_path, damage):
    arrays = tmp_path / "clip_pca.npz"
    arrays.write_bytes(damage)
    with pytest.raises(UserError, match=r"clip_pca\.npz: .* replace it with --overwrite"):
        convert_pca(tmp_path / "missing.pkl", arrays)
    with pytest.raises(UserError, match=r"missing\.pkl: missing; fetch it with"):
        convert_pca(tmp_path / "missing.pkl", arrays, overwrite=True)


@pytest.mark.parametrize("content", [{"mean_": np.zeros(768)}, [1, 2]], ids=["dict", "list"])
def test_another_pickle_is_no_pca(tmp_path, content):
    pickled = tmp_path / "clip_pca.pkl"
    pickled.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"clip_pca\.pkl: damaged .*; fetch it again"):
        convert_pca(pickled, tmp_path / "clip_pca.npz")
    assert list(tmp_path.iterdir()) == [pickled]
