"""Reading and writing weights: the original's `pytorch_model.bin`, and safetensors.

What is read and written are the released state-dict keys (`tests/parity/state_dict_specs`).
"""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dataset.files import write_atomically
from model.encoder import resize_positions
from model.errors import UserError, first_line

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which they are looked for
POSITIONS = "expert_encoder.positional_embedding"
IGNORED = ("position_ids",)  # an integer buffer of the released files


def find_weights(folder: Path) -> Path:
    """The weight file of a checkpoint folder."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: no weights there; expected {' or '.join(WEIGHT_FILES)}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU; no code in the file is run.

    Raises:
        UserError: missing, truncated, or not a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: truncated or not a checkpoint ({reason}); fetch it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a state dict of tensors")
    return state


def write_weights(path: Path, state: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Writes a state dict as safetensors, whole or not at all.

    Args:
        path: the file.
        state: tensors; tied ones are stored under each of their keys, as the released files do.
        dtype: precision of the matrices; vectors (norms, biases, statistics) keep theirs.
    """
    tensors: dict[str, Tensor] = {}
    stored: set[int] = set()
    for key, value in state.items():
        value = value.detach().cpu()
        if dtype is not None and value.is_floating_point() and value.ndim > 1:
            value = value.to(dtype)
        if value.data_ptr() in stored:
            value = value.clone()
        stored.add(value.data_ptr())
        tensors[key] = value.contiguous()
    try:
        write_atomically(path, lambda name: save_file(tensors, name))
    except SafetensorError as error:  # how its Rust code says that a disk is full
        raise UserError(f"{path}: cannot be written ({error}); free some space") from None


def load_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copies a state dict into a model, strictly; positions of another resolution are resized.

    Args:
        model: a `Prismer`.
        state: released keys.
        source: the file's name, for the error message.

    Raises:
        UserError: the keys or shapes differ; names the first that do.
    """
    own = model.state_dict()
    state = {key: value for key, value in state.items() if key.rsplit(".", 1)[-1] not in IGNORED}
    if POSITIONS in state and POSITIONS in own and state[POSITIONS].shape != own[POSITIONS].shape:
        table = state[POSITIONS].float()
        grid = round(own[POSITIONS].shape[0] ** 0.5)
        if table.ndim == 2 and table.shape[1] == own[POSITIONS].shape[1]:
            state[POSITIONS] = resize_positions(table, grid)
    expected = {key: value for key, value in own.items() if key.rsplit(".", 1)[-1] not in IGNORED}
    problems = [
        *(f"missing '{key}'" for key in expected if key not in state),
        *(f"unexpected '{key}'" for key in state if key not in expected),
        *(
            f"'{key}' is {list(state[key].shape)}, the model has {list(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise UserError(
            f"{source}: made for another model: {'; '.join(problems[:3])}{more}; "
            "check prismer_model, experts and image_resolution"
        )
    model.load_state_dict(state, strict=False)
