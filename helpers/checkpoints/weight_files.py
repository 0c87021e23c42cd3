"""Reading and writing weights: the original's `pytorch_model.bin`, and safetensors.

Both hold the state-dict keys of the released files (`tests/parity/state_dict_specs`).
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import UserError, first_line
from common.files import write_atomically
from common.pickles import read_torch
from common.strict_json import parse_json
from common.weight_checks import check_weights, no_floats
from helpers.training.resume.folders import MARKER, WEIGHTS, read_marker
from model.modules.positions import resize_positions

INDEX_SUFFIX = ".index.json"  # the index maps tensors to shards
# In order of preference; the last stands for the shards of a training checkpoint.
WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX_SUFFIX}", "pytorch_model.bin", MARKER)
POSITIONS = "expert_encoder.positional_embedding"
IGNORED = "position_ids"  # an integer buffer of the released files
NAMED = 3  # an error message names so many keys of each kind


def find_weights(path: Path) -> Path:
    """The weight file of a checkpoint's folder, or the file itself."""
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    expected = f"{', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}"
    raise UserError(f"{path}: no weights there; expected {expected}")


def weight_files(path: Path) -> list[Path]:
    """The files that hold a checkpoint's tensors: the shards of an index, or the file itself."""
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
        # An index must not lead to files outside its folder.
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise UserError(f"{path}: '{name}' is not the name of a shard; fetch it again")
    return [path.with_name(name) for name in names]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a file or of an index's shards, on the CPU; code in it is never run.

    The tensors are read, not mapped: overwriting the file later does not change them.

    Raises:
        UserError: missing, truncated, not a state dict, or values are not finite.
    """
    if path.name == MARKER:
        # Imported here: torch.distributed takes seconds.
        from helpers.training.resume.sharded_tensors import read_whole

        read_marker(path.parent)  # refuses an incomplete checkpoint
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
        state = read_torch(path, remedy="name a file of weights, or fetch it again", mmap=False)
        if isinstance(state, dict) and all(
            isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided
            for key, value in state.items()
        ):
            return state
        raise UserError(f"{path}: not a state dict of tensors")
    try:
        return load_file(path, backend="pread")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it again") from None
    except (OSError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: truncated or not a checkpoint ({reason}); fetch it again") from None


def write_weights(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Writes a state dict atomically.

    Args:
        path: the file; its suffix is `.safetensors`, or `.bin` for the original's format.
        state: tensors; tied tensors are stored under each of their keys, as in the released files.
        dtype: precision of the matrices; vectors (norms, biases, statistics) keep theirs.
    """
    safe = path.suffix == ".safetensors"  # a format in which two keys cannot share a tensor
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
    except (SafetensorError, RuntimeError) as error:  # Rust and torch raise these for a full disk
        reason = first_line(error)
        raise UserError(f"{path}: cannot be written ({reason}); free some space") from None


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes safetensors with the permissions of the umask; the library would give them to the owner alone."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path)
    path.chmod(mode)


def load_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads a state dict into a model, strictly; positions of another resolution are resized.

    The model takes over the tensors, so a model on the device meta costs the memory of its weights once.

    Args:
        model: a `Prismer`, on the CPU or on the device meta.
        state: released keys, in any precision; converted in place to the model's.
        source: the file's name, for errors.

    Raises:
        UserError: keys, shapes or kinds differ; names the first of them.
    """
    for key in [key for key in state if key.rpartition(".")[2] == IGNORED]:
        del state[key]
    expected = {key: value for key, value in model.state_dict().items() if key.rpartition(".")[2] != IGNORED}
    fit_positions(state, expected)
    if problems := differences(state, expected):
        raise UserError(
            f"{source}: made for another model: {problems}; check prismer_model, experts and image_resolution"
        )
    for key, value in expected.items():  # one by one: the state dict is never in memory twice
        state[key] = state[key].detach().to(value.dtype).contiguous()
    model.load_state_dict(state, strict=False, assign=True)


def fit_positions(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Resizes a state dict's table of positions, if any, to the grid of the expected one."""
    table = state.get(POSITIONS)
    if table is not None and table.ndim == 2 and table.numel() and math.isqrt(len(table)) ** 2 == len(table):
        state[POSITIONS] = resize_positions(table.float(), math.isqrt(len(expected[POSITIONS])))


def differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """The differences in keys, shapes and kinds, as text; empty if there are none."""
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
    parts = []
    for word, items in kinds:
        if items:
            more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
            parts.append(word + ", ".join(items[:NAMED]) + more)
    return "; ".join(parts)
