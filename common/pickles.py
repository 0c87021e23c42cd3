"""Reading pickles that others made: data comes out, nothing in them is run.

A pickle is a small program that may call any function by its name. Here the names it may call are few,
and none of them is the real thing: each stands for a function of this file that builds plain data.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from common.errors import UserError, first_line, one_line

# The remedy where a released file is missing.
FETCH = "python download_checkpoints.py --download_experts=True"
FETCH_PCA = "python download_checkpoints.py --download_pca=True"


def fetch_command(path: Path) -> str:
    """The command that fetches a released file, and no more than need be."""
    return FETCH_PCA if path.stem == "clip_pca" else FETCH


_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")


class _Refused(Exception):
    """The pickle asks for something that is not data."""


def read_pickle(path: Path, placeholders: Collection[str] = ()) -> Any:
    """Reads a pickle of plain data and numpy arrays, of Python 2 as well.

    Args:
        path: the file.
        placeholders: full names of classes, e.g. `sklearn.decomposition._pca.PCA`, whose objects become
            `SimpleNamespace`s of their attributes.

    Returns:
        What was pickled: numbers, texts, containers, numpy arrays, scalars and dtypes of plain numbers
        or texts, namespaces.

    Raises:
        UserError: missing, damaged, or it holds more than data.
    """
    try:
        with path.open("rb") as file:
            return _unwrapped(_Unpickler(file, placeholders).load(), {})
    except _Refused as error:
        raise _more_than_data(path, f" ({error})") from None
    except OSError as error:
        raise _unread(path, error) from None
    except Exception as error:  # of a damaged pickle, anything
        raise _damaged(path, one_line(error)) from None


def read_torch(path: Path, *, remedy: str = "", mmap: bool = True) -> Any:
    """Reads a torch file onto the CPU; only data in it is read.

    Args:
        path: the file.
        remedy: what to do where it is missing or damaged; by default, to fetch it.
        mmap: tensors of files in the newer (zip) format are mapped, not read: they cost no memory until
            used, but change with the file.

    Raises:
        UserError: missing, damaged, or it holds more than data.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unread(path, error, remedy) from None
    try:
        mmap = mmap and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "Can only" in str(error):  # a function, an object of a class
            raise _more_than_data(path) from None
        raise _damaged(path, "no torch file", remedy) from None  # the message is a page of advice
    except Exception as error:  # of a damaged file, anything
        raise _damaged(path, first_line(error), remedy) from None


def _unread(path: Path, error: OSError, remedy: str = "") -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: missing; {remedy or f'fetch it with: {FETCH}'}")
    return UserError(f"{path}: cannot be read: {error.strerror}")


def _damaged(path: Path, reason: str, remedy: str = "") -> UserError:
    return UserError(f"{path}: damaged ({reason[:100]}); {remedy or f'fetch it again: {FETCH}'}")


def _more_than_data(path: Path, reason: str = "") -> UserError:
    return UserError(f"{path}: holds more than data{reason}; nothing of it was run, do not use it")


class _Unpickler(pickle.Unpickler):
    """Answers every name in a pickle with a builder of data, or not at all."""

    def __init__(self, file: Any, placeholders: Collection[str]) -> None:
        super().__init__(file, encoding="latin1")  # bytes of Python 2, with which numpy copes
        self.placeholders = placeholders

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in self.placeholders:
            return _Placeholder
        if full not in _BUILDERS:
            raise _Refused(f"asks for {full!r}")
        return _BUILDERS[full]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("asks for an object outside the file")


class _Placeholder(SimpleNamespace):
    """Holds the attributes of an object whose class is not run."""

    def __new__(cls, *args: Any) -> "_Placeholder":
        return super().__new__(cls)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[str(name)] = value


class _Dtype:
    """A dtype in the making: numpy's own may be given states that make it read foreign memory."""

    def __init__(self, spec: str, *flags: Any) -> None:
        if not isinstance(spec, str) or not _PLAIN_DTYPE.fullmatch(spec):
            raise _Refused(f"asks for arrays of {spec!r}")
        self.value = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields, *_ = state
        if order not in ("<", ">", "|", "=") or not subarray is names is fields is None:
            raise _Refused("asks for arrays of records")
        self.value = self.value.newbyteorder(order)


class _Array:
    """An array in the making."""

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _Refused("asks for arrays of an unknown type")
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    array = np.frombuffer(raw, np.uint8).copy().view(dtype.value)  # a copy can be written to
    return array.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, *shape_and_type: Any) -> _Array:
    if kind is not _Array:
        raise _Refused("asks for an unknown kind of array")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> np.generic:
    return _array(raw, dtype, (), "C")[()]


def _encode(text: str, *encoding: Any) -> bytes:
    return text.encode("latin1")  # how bytes are written in a pickle of Python 2's time


def _empty_bytes() -> bytes:
    return b""


def _reconstructor(kind: Any, *base_and_state: Any) -> _Placeholder:
    if kind is not _Placeholder:
        raise _Refused("asks for an unknown kind of object")
    return _Placeholder()


class _Function:
    """A function that a pickle may call, but not alter, as it may other objects."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("alters a function")


_BUILDERS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _Function(_encode),
}
for _module in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _BUILDERS[f"{_module}.multiarray._reconstruct"] = _Function(_reconstruct)
    _BUILDERS[f"{_module}.multiarray.scalar"] = _Function(_scalar)
    _BUILDERS[f"{_module}.numeric._frombuffer"] = _Function(_array)
for _module in ("copy_reg", "copyreg"):
    _BUILDERS[f"{_module}._reconstructor"] = _Function(_reconstructor)
for _module in ("__builtin__", "builtins"):
    _BUILDERS |= {f"{_module}.{kind.__name__}": kind for kind in (set, frozenset, complex, object)}
    _BUILDERS[f"{_module}.bytes"] = _Function(_empty_bytes)


def _unwrapped(value: Any, seen: dict[int, Any]) -> Any:
    """Puts arrays and dtypes in the place of what they were made in; containers are changed as they are."""
    if isinstance(value, (_Array, _Dtype)):
        return value.value
    if isinstance(value, tuple):
        return tuple(_unwrapped(item, seen) for item in value)
    if id(value) not in seen:
        seen[id(value)] = value
        if isinstance(value, list):
            value[:] = [_unwrapped(item, seen) for item in value]
        elif isinstance(value, dict):
            for key in value:
                value[key] = _unwrapped(value[key], seen)
        elif isinstance(value, _Placeholder):
            _unwrapped(value.__dict__, seen)
    return value
