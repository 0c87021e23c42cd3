"""Tensors in safetensors files: each process writes its part, any number of processes reads them.

This is torch.distributed.checkpoint; nothing in the files can be run.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from common.errors import UserError, first_line

FILE_BYTES = 1 << 28  # a file is put together in memory, twice
_ALONE = "torch.distributed is disabled"  # torch's warning that a single process is one


def write_shards(folder: Path, tensors: Mapping[str, Tensor], *, alone: bool) -> None:
    """Writes `shard-*.safetensors`; every process must call it.

    Args:
        folder: an existing folder.
        tensors: by name, plain (then equal on all processes) or DTensors; no two share memory.
        alone: this is the only process.

    Raises:
        OSError: on every process, if any could not write.
    """
    numbers: dict[str, int] = {}  # of each tensor's file, from 1
    number, size = 1, 0
    for name, value in tensors.items():
        if size and size + value.nbytes > FILE_BYTES:
            number, size = number + 1, 0
        numbers[name] = number
        size += value.nbytes
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=numbers, save_distributed=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_ALONE)
            dcp.save(dict(tensors), storage_writer=writer, no_dist=alone)
    except CheckpointException as error:
        raise OSError(_first_failure(error)) from None


def own_shards(folder: Path, rank: int) -> list[Path]:
    """The files that a process has written."""
    return sorted(folder.glob(f"shard-{rank + 1:05d}-*"))  # as torch names them


def read_shards(folder: Path, tensors: dict[str, Tensor], *, alone: bool) -> None:
    """Fills tensors by their names, plain ones or each process's parts; every process must call it.

    Args:
        folder: where any number of processes wrote.
        tensors: what to read; the files may hold more.
        alone: each process reads for itself.

    Raises:
        UserError: a tensor is missing, of another shape or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_ALONE)
            dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=alone)
    except CheckpointException as error:
        raise UserError(f"{folder}: cannot be read ({_first_failure(error)})") from None


def read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose names begin with a prefix, whole and on the CPU, by the rest of their names."""
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


def _first_failure(error: CheckpointException) -> str:
    return first_line(next(iter(error.failures.values()))[0])
