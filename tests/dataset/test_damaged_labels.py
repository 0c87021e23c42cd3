"""Labels and indices of shards with random bytes changed: read, or damaged, whatever a decoder raises."""

import logging
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from dataset.labels import LabelReader
from dataset.shards.pack import pack
from dataset.shards.shard_folder import open_folder
from dataset.shards.tar_index import SUFFIX, index_of, make_index, read_index
from dataset.shards.writer import write_shard
from model.modalities import EMBEDDING_DIM
from tests.dataset.disk import EXPERTS, SIZE, Disk
from tests.dataset.test_captions import add_custom, open_data

TURNS = 40  # of each file


def spoilt(content: bytes, seed: str) -> Iterator[bytes]:
    """Copies with some bytes changed, left out or cut off."""
    draw = random.Random(seed)
    for _ in range(TURNS):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 3, 20))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        start = draw.randrange(len(changed))
        match draw.randrange(4):
            case 0:
                del changed[start:]
            case 1:
                del changed[start : start + draw.randrange(9)]
        yield bytes(changed)


def failure(read: Callable[[], object], known: type[Exception] = UserError) -> Exception | None:
    try:
        read()
    except known as error:
        return error
    return None


@pytest.mark.parametrize("suffix", [".png", ".json", ".pt"])
def test_files(disk: Disk, suffix: str) -> None:
    disk.add("a.jpg")
    words = disk.label("ocr_detection", "a.jpg").with_suffix(".json")
    if suffix == ".pt":
        torch.save({0: {"features": torch.ones(EMBEDDING_DIM), "text": "stop"}}, words.with_suffix(".pt"))
        words.unlink()
    reader, read = LabelReader(disk.labels, EXPERTS), 0
    for path in sorted(disk.labels.rglob(f"*{suffix}")):
        whole = path.read_bytes()
        for content in spoilt(whole, path.parent.name):
            path.write_bytes(content)
            error = failure(lambda: reader.read("a", SIZE))
            assert error is None or f"label {path}" in str(error)
            read += error is None
        path.write_bytes(whole)
    assert 0 < read < TURNS * len(EXPERTS) / 2


def test_shards(disk: Disk, tmp_path: Path) -> None:
    disk.add("a.jpg")
    pack(disk.data, disk.labels, tmp_path / "packed", experts=["normal", "ocr_detection"])
    for tar in sorted((tmp_path / "packed/labels").rglob("*.tar")):
        name = index_of(tar).names[0]
        (start,), (size,) = index_of(tar).offsets, index_of(tar).sizes
        whole = tar.read_bytes()
        for content in spoilt(whole[start : start + size], tar.parent.name):
            write_shard(tar, [(name, content)])
            reader = LabelReader(tmp_path / "packed/labels", [tar.parent.name])
            reader.open_folder("")
            error = failure(lambda: reader.read("a", SIZE, tar.name))  # noqa: B023
            assert error is None or f"label {tar}/{name}" in str(error)


def test_indices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar = tmp_path / "0.tar"
    whole = write_shard(tar, [(f"{number}.txt", bytes(50 * number)) for number in range(40)])
    index = tar.with_name(tar.name + SUFFIX)
    content = index.read_bytes()
    for changed in spoilt(content, "index"):
        error = failure(lambda: read_index(changed), ValueError)  # noqa: B023
        assert error is None or "damaged index" in str(error)
    index.write_bytes(content[:60] + bytes(30) + content[90:])
    with caplog.at_level(logging.WARNING):
        assert open_folder(tmp_path).read("7.txt", 0) == bytes(350)
    assert index.read_bytes() == content
    assert f"{index}: damaged index" in caplog.text
    assert list(index_of(tar).names) == list(whole.names)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_tars(tmp_path: Path, form: int) -> None:
    tar = tmp_path / "0.tar"
    with tarfile.open(tar, "w", format=form) as archive:
        for number in range(3):
            archive.addfile(tarfile.TarInfo("ü" * 60 * number + f"{number}.txt"))
    for changed in spoilt(tar.read_bytes()[:6000], str(form)):
        tar.write_bytes(changed)
        make_index(tar)


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
