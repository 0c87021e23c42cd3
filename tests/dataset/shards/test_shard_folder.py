"""Shards read by name: local and over HTTP, whole, cut off, changed, missing."""

import os
import shutil
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import dataset.location
from benchmarks.file_server import FileServer, OnLoopback
from common.errors import UserError
from dataset.location import Unreachable, Url, as_location, fetch
from dataset.shards.shard_folder import ShardFile, ShardFolder, open_folder
from dataset.shards.tar_index import index_of, make_index
from dataset.shards.writer import write_list, write_shard

LONG = "d" * 120 + "/" + "n" * 60  # more than a tar header holds
FILES = {
    "a/one.jpg": b"1" * 700,
    "a/one.txt": b"first",
    "b.c.jpg": b"2",
    "b.c.json": b"",
    "c.webp": b"",  # alone, as a label that says "nothing here"
    f"{LONG}.jpg": b"3",
}
MORE = {"ü.jpg": b"4" * 1500, "ü.txt": b"fourth"}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset.location, "BACK_OFF", 0.001)


def in_memory(folder: Path) -> Url:
    """A copy of a folder where fsspec reads it; each test has its own."""
    store, root = fsspec.filesystem("memory"), f"/{folder.name}"
    store.put(str(folder), root, recursive=True)
    return as_location(f"memory:/{root}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shard(tmp_path / "00000.tar", FILES.items())
    write_shard(tmp_path / "00007.tar", MORE.items())
    write_list(tmp_path)
    return tmp_path


@pytest.fixture(params=["disk", "http", "memory"])
def shards(folder: Path, request: pytest.FixtureRequest):
    if request.param == "disk":
        yield open_folder(folder)
        return
    if request.param == "memory":
        yield open_folder(in_memory(folder))
        return
    with FileServer(folder) as server:
        yield open_folder(Url(server.url))


def test_files_are_read_by_name(shards: ShardFolder) -> None:
    for shard, files in enumerate((FILES, MORE)):
        for name, content in files.items():
            assert (shards / name).read_bytes() == content
            assert ShardFile(shards, name, shard).read_bytes() == content
    assert shards.locate([*MORE, "none.jpg", *FILES]).tolist() == [1, 1, -1, *[0] * len(FILES)]
    names, numbers = shards.images()
    assert list(names) == ["a/one.jpg", "b.c.jpg", "c.webp", f"{LONG}.jpg", "ü.jpg"]
    assert numbers.tolist() == [0, 0, 0, 0, 1]


def test_what_is_not_there(shards: ShardFolder) -> None:
    for name, shard in (("a/two.jpg", 0), ("a/one.jpg", 1), ("zzz", 0), ("zzz", None)):
        with pytest.raises(FileNotFoundError):
            shards.read(name, shard)
        assert not shards.has(name, shard)


def test_webdataset_reads_them(folder: Path) -> None:
    import webdataset

    found = list(webdataset.WebDataset(str(folder / "00000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == ["a/one", "b", "c", LONG]
    assert (found[0]["jpg"], found[0]["txt"]) == (b"1" * 700, b"first")


def test_without_index_or_list_it_is_made_and_kept(folder: Path) -> None:
    for path in (*folder.glob("*.index"), *folder.glob("*.json")):
        path.unlink()
    assert (open_folder(folder) / "ü.txt").read_bytes() == b"fourth"
    index = folder / "00007.tar.index"
    before = index.stat().st_mtime_ns
    index_of(folder / "00007.tar")
    assert index.stat().st_mtime_ns == before
    write_shard(folder / "new.tar", {"other.jpg": b"5"}.items())
    os.replace(folder / "new.tar", folder / "00007.tar")  # as by another program
    assert (open_folder(folder) / "other.jpg").read_bytes() == b"5"
    index.write_bytes(b"damaged")
    assert (open_folder(folder) / "other.jpg").read_bytes() == b"5"


def test_of_a_cut_off_shard_the_rest_is_left_out(folder: Path) -> None:
    tar = folder / "00000.tar"
    content = tar.read_bytes()
    tar.write_bytes(content[:1000])  # within the first image
    names = list(make_index(tar).names)
    assert names in ([], ["a/one.jpg"])
    shards = open_folder(folder)
    with pytest.raises(OSError, match=r"early|not in"):
        shards.read("a/one.jpg", 0)
    assert shards.read("ü.txt", 1) == b"fourth"
    tar.write_bytes(b"no tar at all" * 100)
    assert list(make_index(tar).names) == []


def test_of_files_of_one_name_the_last_counts(tmp_path: Path) -> None:
    """As in a tar with an appended, newer file (`tar -r`): there is one sample, not two."""
    files = [("a.jpg", b"old"), ("a.txt", b"text"), ("b.jpg", b"other"), ("a.jpg", b"newer")]
    write_shard(tmp_path / "00000.tar", files)
    shards = open_folder(tmp_path)
    assert list(shards.images()[0]) == ["b.jpg", "a.jpg"]
    for name, content in (("a.jpg", b"newer"), ("a.txt", b"text"), ("b.jpg", b"other")):
        assert shards.read(name, 0) == content


def test_two_pictures_of_one_key_are_refused(tmp_path: Path) -> None:
    """A photo and its mask would share labels and a caption; records of two shards do not."""
    write_shard(tmp_path / "00000.tar", [("a.jpg", b"1"), ("a.txt", b"2")])
    write_shard(tmp_path / "00001.tar", [("a.jpg", b"3"), ("b.jpg", b"4")])
    shards = open_folder(tmp_path)
    assert list(shards.images()[0]) == ["a.jpg", "a.jpg", "b.jpg"]
    assert shards.locate(["b.jpg", "a.txt"]).tolist() == [1, 0]
    with pytest.raises(UserError, match=r"a\.jpg is in 00000\.tar and in another shard"):
        shards.locate(["b.jpg", "a.jpg"])
    write_shard(tmp_path / "00002.tar", [("0.JPG", b"1"), ("0.png", b"2"), ("0.txt", b"3")])
    with pytest.raises(UserError, match=r"00002\.tar: 0\.JPG and 0\.png would share labels"):
        open_folder(tmp_path).images()


def test_the_list_of_shards_is_compared_with_what_is_there(folder: Path, caplog) -> None:
    assert open_folder(folder).shards == ["00000.tar", "00007.tar"]
    assert caplog.text == ""
    write_shard(folder / "00003.tar", [("new.jpg", b"1")])
    (folder / "._00003.tar").write_bytes(b"what a Mac writes beside a file")
    assert open_folder(folder).shards == ["00000.tar", "00003.tar", "00007.tar"]
    assert "reads 1 shards that shards.json lacks (00003.tar); run python" in caplog.text
    (folder / "00007.tar").unlink()
    with pytest.raises(UserError, match=r"00007\.tar: cannot be read"):
        open_folder(folder).images()


def test_a_record_is_one_request_over_one_connection(folder: Path) -> None:
    with FileServer(folder) as server:
        shards = open_folder(Url(server.url))
        shards.read("a/one.jpg", 0)
        shards.read("a/one.txt", 0)
        shards.read("ü.jpg", 1)
        ranges = [span for path, span in server.requests if path.endswith(".tar")]
        assert len(ranges) == 2
        assert all(span.startswith("bytes=") for span in ranges)
        assert len(server.connections) == 1


@pytest.mark.parametrize("fault", [503, 429, "cut", "stall"])
def test_a_fault_that_passes_is_tried_again(folder: Path, fault, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "stall":
        monkeypatch.setattr(dataset.location, "READ_TIMEOUT", 1)
        dataset.location._store.cache_clear()
    with FileServer(folder) as server:
        shards = open_folder(Url(server.url))
        server.faults["00000.tar"] = [fault, fault]
        assert shards.read("a/one.jpg", 0) == b"1" * 700
        assert not shards.is_broken(0)


@pytest.mark.parametrize("fault", [500, "whole", 403, 404])
def test_a_shard_that_stays_broken_costs_its_attempts_once(folder: Path, fault, caplog) -> None:
    with FileServer(folder) as server:
        shards = open_folder(Url(server.url))
        server.faults["00000.tar"] = [fault] * 100
        for name in ("a/one.jpg", "b.c.jpg", "a/one.txt"):
            with pytest.raises(OSError, match=r"HTTP|before|not found there") as raised:
                shards.read(name, 0)
            assert not isinstance(raised.value, FileNotFoundError)  # a label that may be missing
        tried = [path for path, _ in server.requests if path.endswith(".tar")]
        assert len(tried) == (dataset.location.ATTEMPTS if fault == 500 else 1)
        assert caplog.text.count("its samples are skipped") == 1
        assert ("does not know of ranges" in caplog.text) == (fault == "whole")
        assert shards.read("ü.txt", 1) == b"fourth"
        server.faults.clear()
        shards.retry_broken()
        assert shards.read("a/one.jpg", 0) == b"1" * 700


def test_a_shard_that_was_replaced_after_it_was_indexed(folder: Path) -> None:
    with FileServer(folder) as server:
        shards = open_folder(Url(server.url))
        shards.read("a/one.jpg", 0)
        with (folder / "00000.tar").open("ab") as tar:
            tar.write(b"\0" * 512)
        for place in (shards, open_folder(in_memory(folder))):
            with pytest.raises(OSError, match="not the file that was indexed"):
                place.read("b.c.jpg", 0)


def test_mistakes_are_one_line(folder: Path) -> None:
    with FileServer(folder) as server:
        with pytest.raises(UserError, match="index"):
            open_folder(Url(server.url) / "elsewhere")
        (folder / "00007.tar.index").unlink()
        with pytest.raises(UserError, match=r"00007.tar"):
            open_folder(Url(server.url)).images()
    (folder / "shards.json").write_text("[]")
    with pytest.raises(UserError, match="damaged"):
        open_folder(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    assert open_folder(folder) == folder


def test_no_server_is_not_waited_for_long() -> None:
    with pytest.raises(Unreachable, match=r"Connect call failed .* attempts") as caught:
        fetch("http://127.0.0.1:9/none?key=secret")
    assert "secret" not in caught.value.strerror


def test_redirects_are_followed_but_not_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(OnLoopback):
        class handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", f"{self.served.target}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

    with FileServer(folder) as server, Elsewhere() as elsewhere:
        elsewhere.target = server.url
        assert fetch(f"{elsewhere.url}/shards.json").content == (folder / "shards.json").read_bytes()
        elsewhere.target = f"{elsewhere.url}/?key=secret&"
        with pytest.raises(Unreachable) as caught:
            fetch(f"{elsewhere.url}/shards.json")
        assert "secret" not in caught.value.strerror


def test_a_store_is_tried_again_and_what_it_does_not_have_is_said(folder, monkeypatch, caplog) -> None:
    place, tried = in_memory(folder), []
    read = MemoryFileSystem.cat_file

    def failing(store: MemoryFileSystem, path: str, *limits: int | None) -> bytes:
        tried.append(path)
        if path.endswith("00007.tar") or (path.endswith("00000.tar") and len(tried) < 3):
            raise ValueError("the store's own error")
        return read(store, path, *limits)

    shards = open_folder(place)
    assert len(list(shards.images()[0])) == 5
    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    assert ShardFile(shards, "a/one.txt", 0).read_bytes() == b"first"
    assert len(tried) == 3
    tried.clear()
    for _ in range(2):
        with pytest.raises(OSError, match=r"own error in 5 attempts|could not be read before"):
            ShardFile(shards, "ü.txt", 1).read_bytes()
    assert sum(path.endswith(".tar") for path in tried) == dataset.location.ATTEMPTS
    assert caplog.text.count("its samples are skipped") == 1
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"no shards there: shards.json cannot be read \(not found there"):
        open_folder(place / "elsewhere")


@pytest.mark.parametrize(("address", "expected"), [("none://a", "none"), ("s3://a", "s3fs")])
def test_an_address_that_nothing_reads_is_a_line(address: str, expected: str) -> None:
    if expected == "s3fs" and find_spec("s3fs"):
        pytest.skip("it is installed")
    with pytest.raises(UserError, match=f"{address}: .*{expected}"):
        as_location(address)
