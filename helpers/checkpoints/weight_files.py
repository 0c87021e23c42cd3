"""Reading and writing weights: the original's `pytorch_model.bin`, and safetensors.

What is read and written are the released state-dict keys (`tests/parity/state_dict_specs`).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import UserError, first_line
from common.files import write_atomically
from common.pickles import read_torch
from common.strict_json import parse_json
from common.weight_checks import check_weights, no_floats
from helpers.training.checkpoints.folders import MARKER, WEIGHTS, read_marker
from model.encoder import resize_positions

INDEX_SUFFIX = ".index.json"  # of the file that says which tensor is in which shard
# In the order in which they are looked for; the last stands for the shards of a training checkpoint.
WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX_SUFFIX}", "pytorch_model.bin", MARKER)
POSITIONS = "expert_encoder.positional_embedding"
IGNORED = ("position_ids",)  # an integer buffer of the released files
NAMED = 3  # keys of each kind that an error message names


def find_weights(path: Path) -> Path:
    """The weight file of a checkpoint folder; of a file, itself."""
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    expected = f"{', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}"
    raise UserError(f"{path}: no weights there; expected {expected}")


def weight_files(path: Path) -> list[Path]:
    """The files that hold a checkpoint's tensors: the shards of an index, or the file itself.

    Raises:
        UserError: the index is damaged.
    """
    if path.name == MARKER:
        return [path.with_name(name) for name in read_marker(path.parent)["files"]]
    if not path.name.endswith(INDEX_SUFFIX):
        return [path]
    try:
        weight_map = parse_json(path.read_bytes())["weight_map"]
        names = sorted({str(name) for name in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not an index of shards ({first_line(error)}); fetch it again") from None
    for name in names:
        # Shards lie beside their index: no other file is read at its word.
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise UserError(f"{path}: '{name}' is no name of a shard; fetch it again")
    return [path.with_name(name) for name in names]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file or in the shards of an index, on the CPU; no code in it is run.

    The tensors are read, not mapped: a file that is overwritten later does not change them.

    Raises:
        UserError: missing, truncated, not a state dict, or values in it are not finite.
    """
    if path.name == MARKER:
        from helpers.training.checkpoints.sharded_tensors import (
            read_whole,  # torch.distributed: slow and large
        )

        read_marker(path.parent)  # only of a checkpoint that was complete
        state = read_whole(path.parent, WEIGHTS)
        check_weights(state, path)
        return state
    state: dict[str, Tensor] = {}
    for file in weight_files(path):
        part = _read_file(file)
        check_weights(part, file)
        state |= part
    return state


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        state = read_torch(path, remedy="fetch it again", mmap=False)
        if not isinstance(state, dict) or not all(map(_is_entry, state.items())):
            raise UserError(f"{path}: not a state dict of tensors")
        return state
    try:
        return load_file(path, backend="pread")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it again") from None
    except (OSError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: truncated or not a checkpoint ({reason}); fetch it again") from None


def _is_entry(item: tuple[Any, Any]) -> bool:
    """Whether this is an entry of a state dict: a key, and a tensor that is plainly stored."""
    key, value = item
    return isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided


def write_weights(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Writes a state dict, whole or not at all.

    Args:
        path: the file; its suffix is `.safetensors`, or `.bin` for the original's format.
        state: tensors; tied ones are stored under each of their keys, as the released files do.
        dtype: precision of the matrices; vectors (norms, biases, statistics) keep theirs.
    """
    safe = path.suffix == ".safetensors"  # which cannot say that two keys share a tensor
    tensors: dict[str, Tensor] = {}
    stored: dict[tuple[int, torch.Size], Tensor] = {}
    for key, value in state.items():
        place = (value.data_ptr(), value.shape)
        if place in stored:
            tensors[key] = stored[place].clone() if safe else stored[place]
            continue
        value = value.detach().cpu()
        if dtype is not None and value.is_floating_point() and value.ndim > 1:
            value = value.to(dtype)
        tensors[key] = stored[place] = value.contiguous()
    try:
        write_atomically(path, lambda name: _save(tensors, name) if safe else torch.save(tensors, name))
    except (SafetensorError, RuntimeError) as error:  # how Rust and torch say that a disk is full
        reason = first_line(error)
        raise UserError(f"{path}: cannot be written ({reason}); free some space") from None


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Has the umask say who may read the file, as of any other; safetensors lets its owner alone."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path)
    path.chmod(mode)


def load_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Puts a state dict into a model, strictly; positions of another resolution are resized.

    The model takes the tensors over: one that was built without memory (device meta) costs its weights once.

    Args:
        model: a `Prismer`, on the CPU or without memory.
        state: released keys, in any precision; it is changed to what the model holds.
        source: the file's name, for the error message.

    Raises:
        UserError: keys, shapes or kinds differ; names the first that do.
    """
    for key in [key for key in state if _ignored(key)]:
        del state[key]
    expected = {key: value for key, value in model.state_dict().items() if not _ignored(key)}
    fit_positions(state, expected)
    if problems := differences(state, expected):
        raise UserError(
            f"{source}: made for another model: {problems}; check prismer_model, experts and image_resolution"
        )
    for key, value in expected.items():  # one by one, so that never all are there twice
        state[key] = state[key].detach().to(value.dtype).contiguous()
    model.load_state_dict(state, strict=False, assign=True)


def fit_positions(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Resizes the table of positions in a state dict, if it has one, to the grid of the expected one."""
    table = state.get(POSITIONS)
    if table is not None and table.ndim == 2 and table.numel() and math.isqrt(len(table)) ** 2 == len(table):
        state[POSITIONS] = resize_positions(table.float(), math.isqrt(len(expected[POSITIONS])))


def differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Where keys, shapes or kinds of a state dict are not the expected ones; empty if they are."""
    shapes = [
        f"'{key}' is {list(state[key].shape)}, the model has {list(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    kinds = (
        ("missing ", [f"'{key}'" for key in expected if key not in state]),
        ("unexpected ", [f"'{key}'" for key in state if key not in expected]),
        ("", shapes),
        ("", no_floats(state, expected)),
    )
    return "; ".join(word + _first(items) for word, items in kinds if items)


def _first(items: list[str]) -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def _ignored(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in IGNORED
