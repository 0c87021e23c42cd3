"""Pickles from outside: data comes out as it went in, code does not run."""

import collections
import io
import pickle
import pickletools
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.pickles import read_pickle, read_torch

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def content() -> dict:
    shared = np.arange(6, dtype=">i2").reshape(2, 3)
    return {
        "plain": [1, 2.5, None, True, "text", b"bytes", (1, [2, (3,)]), {4, 5}, 1j],
        "ordered": collections.OrderedDict(a=np.ones(2, np.float16)),
        "arrays": [shared, shared, np.asfortranarray(np.eye(3)[:2]), np.zeros((0, 4), "f4"), np.array(7)],
        "texts": np.array(["cat", "a dog"]),
        "flags": np.array([True, False]),
        "scalars": [np.float64(0.1), np.int32(-3), np.bool_(True)],
        "dtype": np.dtype("float32"),
    }


def equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_comes_out_as_it_went_in(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content(), protocol))
    read = read_pickle(path)
    assert equal(content(), read)
    assert read["arrays"][0] is read["arrays"][1]
    assert all(array.flags.writeable for array in read["arrays"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_named_classes_become_namespaces(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "pca.pkl"
    path.write_bytes(pickle.dumps(Fitted(), protocol))
    read = read_pickle(path, placeholders=[f"{__name__}.Fitted"])
    assert isinstance(read, SimpleNamespace)
    assert not isinstance(read, Fitted)
    assert equal(read.mean_, np.arange(3.0))
    assert read.n_components == 64
    with pytest.raises(UserError, match=r"more than data \(asks for '.*Fitted'\)"):
        read_pickle(path)


class Fitted:
    """Stands for a class of a library that is not installed."""

    def __init__(self) -> None:
        self.mean_, self.n_components = np.arange(3.0), 64


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    raw = np.array([1.5, -2], "<f4").tobytes().decode("latin1").encode("unicode_escape").decode()
    text = (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        "cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        f"I00\nS'{raw}'\ntb."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(text.encode())
    assert equal(read_pickle(path), np.array([1.5, -2], "<f4"))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *args: object, state: object = None) -> None:
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple:
        return self.call


def of(module: str, name: str, *args: object) -> bytes:
    """A pickle that calls a function by its name (`name` may hold dots) with arguments."""
    texts = b"".join(b"\x8c" + struct.pack("B", len(text)) + text.encode() for text in (module, name))
    return b"\x80\x04" + texts + b"\x93" + pickle.dumps(args, 2)[2:-1] + b"R."


RUN = "open('ran', 'w').close()"
MALICIOUS = {
    "os.system": of("os", "system", "touch ran"),
    "posix.system": of("posix", "system", "touch ran"),
    "subprocess": of("subprocess", "Popen", "touch ran"),
    "eval": of("builtins", "eval", RUN),
    "exec": of("builtins", "exec", RUN),
    "python 2's eval": f"c__builtin__\neval\n(S{RUN!r}\ntR.".encode(),
    "getattr": of("builtins", "getattr", "", "format"),
    "__import__": of("builtins", "__import__", "os"),
    "open": of("builtins", "open", "ran", "w"),
    "a dotted name": of("numpy", "f2py.os.system", "touch ran"),
    "a dotted name in an allowed module": of("collections", "OrderedDict.__init__.__globals__", "x"),
    "numpy runs strings": of("numpy.testing._private.utils", "runstring", RUN, {}),
    "numpy loads pickles": of("numpy", "load", "inner.npy"),
    "numpy.ndarray.tofile": of("numpy", "ndarray.tofile", "ran"),
    "torch.load": of("torch", "load", "inner.pt"),
    "pickle.loads": of("_pickle", "loads", of("os", "system", "touch ran")),
    "a reduce inside a list": pickle.dumps([1, {"a": (2, [Call(eval, RUN)])}]),
    "a reduce as an argument": pickle.dumps(Call(set, [Call(eval, RUN)])),
    "a reduce as a state": pickle.dumps(Call(np.dtype, "f4", state=Call(eval, RUN))),
    "a reduce as a key": pickle.dumps(Call(dict, [(Call(eval, RUN), 1)])),
    "INST": f"(S{RUN!r}\nibuiltins\neval\n.".encode(),
    "OBJ": f"(cbuiltins\neval\nS{RUN!r}\no.".encode(),
    "an extension code": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pos.system\n.",
    "an array of objects": pickle.dumps(np.array([Call(eval, RUN)], object)),
    "an array of records": pickle.dumps(np.zeros(2, "f4,i4")),
    "a dtype that hides objects": pickle.dumps(
        Call(np.dtype, "f8", state=(3, "|", None, ("a",), {"a": (np.dtype("i8"), 0)}, 8, 1, 0))
    ),
    "an array of another kind": pickle.dumps(Call(np.zeros(0).__reduce__()[0], dict, (0,), b"b")),
    "a function is altered": b"cnumpy.core.multiarray\nscalar\n}S'x'\nS'y'\nsb.",
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_nothing_in_a_malicious_pickle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    pickletools.dis(MALICIOUS[name], out=io.StringIO())  # it is a pickle, and not refused as none
    Path("inner.npy").write_bytes(b"")
    path = tmp_path / "evil.pkl"
    path.write_bytes(MALICIOUS[name])
    with pytest.raises(UserError, match=r"evil\.pkl") as caught:
        read_pickle(path, placeholders=["sklearn.decomposition._pca.PCA"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_placeholder_is_no_way_out(tmp_path: Path) -> None:
    """A pickle cannot extend the functions that it may call through the attributes of an object."""
    name = b"\x8c\x01m\x8c\x01P\x93)\x81"  # an object of m.P
    inner = b"}\x8c\x0c__setstate__cbuiltins\neval\nsb."
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + name + inner)
    with pytest.raises(UserError, match=r"asks for 'builtins\.eval'"):
        read_pickle(tmp_path / "a.pkl", placeholders=["m.P"])


@pytest.mark.parametrize("keep", [0, 1, 20, -1])
def test_a_damaged_pickle(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.pkl"
    path.write_bytes(pickle.dumps(content())[:keep])
    with pytest.raises(UserError, match=r"cut\.pkl: damaged.*fetch it again: python download_checkpoints"):
        read_pickle(path)


@pytest.mark.parametrize("read", [read_pickle, read_torch])
def test_a_missing_file_names_the_remedy(tmp_path: Path, read: object) -> None:
    with pytest.raises(UserError, match=r"no\.pkl: missing; fetch it with: python download_checkpoints\.py"):
        read(tmp_path / "no.pkl")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_old_and_new(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pt"
    weights = {"model": {"weight": torch.arange(4000.0)}}
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_torch(path)["model"]["weight"], weights["model"]["weight"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.pt: damaged.*fetch it again"):
        read_torch(path)
    for other in (b"<html>Not Found</html>", b"text"):
        path.write_bytes(other)
        with pytest.raises(UserError, match=r"a\.pt: damaged \(no torch file"):
            read_torch(path)
