"""Damaged indices are made anew, and samples with damaged labels skipped (files: tests/test_hostile_files.py)."""

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from common.errors import UserError
from dataset.shards.shard_folder import open_folder
from dataset.shards.tar_index import SUFFIX, index_of, read_index
from dataset.shards.writer import write_shard
from tests.dataset.disk import Disk
from tests.dataset.test_captions import add_custom, open_data
from tests.mutations import mutated


def test_indices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar = tmp_path / "0.tar"
    whole = write_shard(tar, [(f"{number}.txt", bytes(50 * number)) for number in range(40)])
    index = tar.with_name(tar.name + SUFFIX)
    content = index.read_bytes()
    for changed in mutated(content, 40, seed=0):
        with suppress(ValueError):
            read_index(changed)
    index.write_bytes(content[:60] + bytes(30) + content[90:])
    with caplog.at_level(logging.WARNING):
        assert open_folder(tmp_path).read("7.txt", 0) == bytes(350)
    assert index.read_bytes() == content
    assert f"{index}: damaged index" in caplog.text
    assert list(index_of(tar).names) == list(whole.names)


def test_training_goes_on_with_the_next_sample(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    names = add_custom(disk, 3)
    png = disk.label("depth", names[1])
    png.write_bytes(png.read_bytes()[:-40])
    train = open_data(disk, train_list="list.json")
    assert train[1]["index"] == 2
    assert train.skipped == [names[1]]
    assert f"label {png}: damaged" in caplog.text
    test = open_data(disk, split="test", test_list="list.json")
    assert test[1] is None
    png.unlink()
    with pytest.raises(UserError, match=r"png is missing; run experts/generate_depth\.py"):
        train[1]
