"""The content of a checkpoint beside its marker: all that a run needs to resume bit for bit.

Weights and optimizer are written by torch.distributed.checkpoint, by each process its shard, as safetensors:
they load on another number of processes and in another sharding mode, and nothing in them can be run. Each
process adds what it alone knows: its random states, and its part of the epoch that runs.
"""

import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from common.errors import UserError, first_line
from common.files import write_json
from common.pickles import read_torch
from common.validation import STRICT, validate
from helpers.checkpoints.load import DESCRIPTION
from helpers.training.distribution.sharding import unwrap
from helpers.training.resume.folders import (
    MARKER,
    WEIGHTS,
    begin_checkpoint,
    complete_checkpoint,
    fingerprint,
    read_marker,
    sync,
    temporary_folder,
)
from helpers.training.resume.sharded_tensors import own_shards, read_shards, write_shards

T = TypeVar("T")

BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)  # rather than by number
OPTIMIZER = "optimizer."  # the names of its tensors in a checkpoint begin with it
PROCESS_FILE = "process_{:05d}.pt"
_STATE = "state."  # torch's flat names of these tensors begin with it


@dataclass
class Progress:
    """How far a run has come, the same on every process.

    Attributes:
        epoch: epochs finished, their evaluation included.
        consumed: samples of the running epoch that all processes together have trained on.
        step: optimizer steps taken or skipped.
        skipped_steps: the skipped ones of these, whose loss or gradient was not finite.
        best_score: of the evaluations; None before the first that had a score.
    """

    __pydantic_config__ = STRICT
    epoch: int = 0
    consumed: int = 0
    step: int = 0
    skipped_steps: int = 0
    best_score: float | None = None

    def improves(self, score: float | None) -> bool:
        """Notes the score of an evaluation, and returns whether to keep its weights.

        Of equal scores the newer weights are kept; while no evaluation has had a score, the newest.
        """
        if self.best_score is not None and (score is None or score < self.best_score):
            return False
        self.best_score = score
        return True


def save_checkpoint(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    description: Mapping[str, Any],
    own: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Writes a checkpoint, complete or not at all; every process must call it, between two steps.

    Args:
        folder: the checkpoint's.
        accelerator: its processes.
        model: what `distribute` returned; its statistics are averaged.
        optimizer: torch's.
        description: of the model, `model.json`: with it the folder can be used as a model's.
        own: what this process alone knows, tensors and numbers.
        about: the marker's content, as JSON: `progress` and more.

    Raises:
        UserError: on every process, if any could not write; earlier checkpoints stay.
    """
    main, rank = accelerator.is_main_process, accelerator.process_index
    temporary = temporary_folder(folder)
    tensors = _model_tensors(model) | _optimizer_tensors(_optimizer_state(model, optimizer))

    def write_share() -> dict[str, Any]:
        """Writes this process's files; their fingerprints."""
        write_shards(temporary, tensors, alone=accelerator.num_processes == 1)
        files = own_shards(temporary, rank)
        files.append(temporary / PROCESS_FILE.format(rank))
        torch.save({"random": random_state(), "own": send_to_device(dict(own), "cpu")}, files[-1])
        if main:
            files.append(temporary / DESCRIPTION)
            write_json(files[-1], description, indent=2)
        for path in files:
            sync(path)
        return {path.name: fingerprint(path) for path in files}

    try:
        _together(lambda: begin_checkpoint(folder) if main else None)
        shares = _together(write_share)
        files = {name: entry for share in shares for name, entry in share.items()}
        marker = {"processes": accelerator.num_processes, **about}
        _together(lambda: complete_checkpoint(folder, marker, files) if main else None)
    except OSError as error:
        if main:
            shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written ({error}); mend that, then go on") from None


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Each process's part of the model by name; only tied weights are copied."""
    tensors: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, value in get_model_state_dict(unwrap(model)).items():
        local = value.to_local() if isinstance(value, DTensor) else value
        # A file of safetensors cannot say that two names share a tensor.
        tied = local.numel() > 0 and local.data_ptr() in stored
        tensors[WEIGHTS + name] = value.clone() if tied else value
        stored.add(local.data_ptr())
    return tensors


def _optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    return get_optimizer_state_dict(unwrap(model), optimizer, options=BY_NAME)


def _optimizer_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of an optimizer's flat state by their names in a checkpoint; its settings are the config's."""
    return {OPTIMIZER + name[len(_STATE) :]: value for name, value in state.items() if name.startswith(_STATE)}


def _together(action: Callable[[], T]) -> list[T]:
    """Runs an action on every process; the results of all, or an OSError on all if one fails."""
    found, failure = None, None
    try:
        found = action()
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        failure = first_line(error)
    outcomes = gather_object([(found, failure)])
    for _, failure in outcomes:
        if failure is not None:
            raise OSError(failure)
    return [found for found, _ in outcomes]


def load_optimizer(folder: Path, accelerator: Accelerator, model: nn.Module, optimizer: Optimizer) -> None:
    """Restores an optimizer, after the model is distributed; every process must call it."""
    state = _optimizer_state(model, optimizer)
    saved = _optimizer_tensors(state)
    read_shards(folder, saved, alone=accelerator.num_processes == 1)
    state |= {name.replace(OPTIMIZER, _STATE, 1): value for name, value in saved.items()}
    set_optimizer_state_dict(unwrap(model), optimizer, state, options=BY_NAME)


def load_progress(folder: Path) -> Progress:
    """How far a run was.

    Raises:
        UserError: the marker is damaged.
    """
    return validate(read_marker(folder).get("progress"), Progress, f"{folder / MARKER}: progress")


def load_process(folder: Path, accelerator: Accelerator) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What a process alone knew: `own` as it was saved, and its random states.

    If another number of processes saved it: what the first process knew, and None.
    """
    same = read_marker(folder).get("processes") == accelerator.num_processes
    content = _read_process(folder, accelerator.process_index if same else 0)
    return send_to_device(content["own"], accelerator.device), content["random"] if same else None


def load_unreadable(folder: Path, accelerator: Accelerator) -> Tensor:
    """The unreadable samples, int (n,); each process takes over those of some of the former processes."""
    former = read_marker(folder).get("processes", 0)
    ranks = range(accelerator.process_index, former, accelerator.num_processes)
    found = [_read_process(folder, rank)["own"]["unreadable"] for rank in ranks]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def _read_process(folder: Path, rank: int) -> dict[str, Any]:
    path = folder / PROCESS_FILE.format(rank)
    content = read_torch(path, remedy="use the checkpoint before it", mmap=False)
    if not isinstance(content, dict) or not content.keys() >= {"own", "random"}:
        raise UserError(f"{path}: damaged; use the checkpoint before it")
    return content


def random_state() -> dict[str, Any]:
    """The states of this process's global random generators, from which dropout and others draw."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """The reverse of `random_state`."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
