"""Reading pickles from elsewhere: data comes out, nothing in them is run.

A pickle is a small program that may call any function by its name. Here it may use few names, and each
stands for a function of this file that builds plain data.
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
_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")


def fetch_command(path: Path) -> str:
    """The command that downloads a released file."""
    return FETCH_PCA if path.stem == "clip_pca" else FETCH


class _Refused(Exception):
    """The pickle asks for something that is not data."""


def read_pickle(path: Path, placeholders: Collection[str] = ()) -> Any:
    """Reads a pickle of plain data and numpy arrays, of Python 2 as well.

    Args:
        path: the file.
        placeholders: full names of classes, e.g. `sklearn.decomposition._pca.PCA`, whose objects become
            `SimpleNamespace`s of their attributes.

    Returns:
        Numbers, texts, containers, namespaces; numpy arrays, scalars and dtypes of plain numbers or texts.

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
    except Exception as error:  # a damaged pickle raises anything
        raise _damaged(path, one_line(error)) from None


def read_torch(path: Path, *, remedy: str = "", mmap: bool = True) -> Any:
    """Reads the data of a torch file onto the CPU.

    Args:
        path: the file.
        remedy: the advice if it is missing or damaged; by default, to fetch it.
        mmap: tensors of files in the newer (zip) format are mapped, not read: they cost no memory until
            used, but change with the file.

    Raises:
        UserError: missing, damaged, or it holds more than data.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unread(path, error, remedy) from None
    is_zip = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
    except Exception as error:  # a damaged file raises anything
        unpickling = isinstance(error, pickle.UnpicklingError)
        if unpickling and ("GLOBAL" in str(error) or "Can only" in str(error)):  # a function, an object of a class
            raise _more_than_data(path) from None
        # The message of such an error is a page of advice, or a number.
        pickled = unpickling or isinstance(error, LookupError)
        raise _damaged(path, "no torch file" if pickled else first_line(error), remedy) from None


def _unread(path: Path, error: OSError, remedy: str = "") -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: missing; {remedy or f'fetch it with: {FETCH}'}")
    return UserError(f"{path}: cannot be read: {error.strerror}")


def _damaged(path: Path, reason: str, remedy: str = "") -> UserError:
    return UserError(f"{path}: damaged ({reason[:100]}); {remedy or f'fetch it again: {FETCH}'}")


def _more_than_data(path: Path, reason: str = "") -> UserError:
    return UserError(f"{path}: holds more than data{reason}; nothing of it was run, do not use it")


class _Unpickler(pickle.Unpickler):
    """Answers every name in a pickle with a builder of data, or refuses it."""

    def __init__(self, file: Any, placeholders: Collection[str]) -> None:
        super().__init__(file, encoding="latin1")  # of Python 2's bytes, as numpy expects
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
        self.__dict__.update({str(name): value for name, value in state.items()})


class _Dtype:
    """A dtype under construction: a hostile state makes numpy's own read foreign memory."""

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
    """An array under construction."""

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


class _Function:
    """A function that a pickle may call, but not alter as it may alter objects."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("alters a function")


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _Refused("asks for arrays of an unknown type")
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    array = np.frombuffer(raw, np.uint8).copy().view(dtype.value)  # a copy can be written to
    return array.reshape(shape, order="F" if order == "F" else "C")


def _instance_of(expected: type) -> _Function:
    """Builds an empty object of a class, and of no other."""

    def build(kind: Any, *_: Any) -> Any:
        if kind is not expected:
            raise _Refused("asks for an unknown kind of object")
        return expected()

    return _Function(build)


_BUILDERS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "collections.OrderedDict": OrderedDict,
    # In the time of Python 2, bytes were pickled as a text.
    "_codecs.encode": _Function(lambda text, *_: text.encode("latin1")),
}
for _module in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _BUILDERS[f"{_module}.multiarray._reconstruct"] = _instance_of(_Array)
    _BUILDERS[f"{_module}.multiarray.scalar"] = _Function(lambda dtype, raw: _array(raw, dtype, (), "C")[()])
    _BUILDERS[f"{_module}.numeric._frombuffer"] = _Function(_array)
for _module in ("copy_reg", "copyreg"):
    _BUILDERS[f"{_module}._reconstructor"] = _instance_of(_Placeholder)
for _module in ("__builtin__", "builtins"):
    _BUILDERS |= {f"{_module}.{kind.__name__}": kind for kind in (set, frozenset, complex, object)}
    _BUILDERS[f"{_module}.bytes"] = _Function(lambda: b"")


def _unwrapped(value: Any, seen: dict[int, Any]) -> Any:
    """Replaces builders by their arrays and dtypes; containers are changed in place."""
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
