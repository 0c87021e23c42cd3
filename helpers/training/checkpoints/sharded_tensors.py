"""Tensors that processes hold in parts, in files: each process writes its part, any number reads them.

This is torch.distributed.checkpoint with files of safetensors, in which there is nothing that could be run.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from common.errors import UserError, first_line

FILE_BYTES = 1 << 28  # a file is put together in memory, twice


def write_shards(folder: Path, tensors: Mapping[str, Tensor], *, alone: bool) -> None:
    """Writes `shard-*.safetensors`; every process must call it.

    Args:
        folder: it is there.
        tensors: by name, plain (then equal on all processes) or DTensors; no two share memory.
        alone: this is the only process.

    Raises:
        OSError: on every process, if any could not write.
    """
    writer = HuggingFaceStorageWriter(
        str(folder), fqn_to_index_mapping=_split_into_files(tensors), save_distributed=True
    )
    try:
        with _quiet():
            dcp.save(dict(tensors), storage_writer=writer, no_dist=alone)
    except CheckpointException as error:
        raise OSError(_reason(error)) from None


def own_shards(folder: Path, rank: int) -> list[Path]:
    """The files that a process has written."""
    return sorted(folder.glob(f"shard-{rank + 1:05d}-*"))  # as torch names them


def read_shards(folder: Path, tensors: dict[str, Tensor], *, alone: bool) -> None:
    """Fills tensors by their names, plain ones or each process's parts; every process must call it.

    Args:
        folder: where any number of processes wrote.
        tensors: what to read; there may be more in the files.
        alone: each process reads for itself.

    Raises:
        UserError: something is missing, of another shape or damaged.
    """
    try:
        with _quiet():
            dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=alone)
    except CheckpointException as error:
        raise UserError(f"{folder}: cannot be read ({_reason(error)})") from None


def read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose names begin so, put together on the CPU, by the rest of their names."""
    try:
        known = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot be read ({first_line(error)})") from None
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in known.items()
        if name.startswith(prefix)
    }
    read_shards(folder, tensors, alone=True)
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _split_into_files(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The number, from 1, of the file that each tensor goes to."""
    numbers: dict[str, int] = {}
    number, size = 1, 0
    for name, value in tensors.items():
        if size and size + value.nbytes > FILE_BYTES:
            number, size = number + 1, 0
        numbers[name] = number
        size += value.nbytes
    return numbers


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warning that a single process is one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _reason(error: CheckpointException) -> str:
    """What went wrong first, on any process."""
    return first_line(next(iter(error.failures.values()))[0])
