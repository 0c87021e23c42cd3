"""What a run needs to go on where it stopped: weights, optimizer, epoch, best score."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from dataset.files import write_atomically, write_json
from dataset.pickles import read_torch
from helpers.checkpoint import write_weights
from helpers.sharding import full_optimizer_state, full_state_dict, load_optimizer_state, unwrap
from model.errors import UserError, first_line

LAST = "last"  # subfolder of the newest state; the experiment's folder itself holds the best weights


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0  # epochs finished
    step: int = 0  # optimizer steps taken or skipped
    skipped_steps: int = 0  # of these, the ones whose loss or gradient was not finite
    best_score: float = float("-inf")


def save_last(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Writes `<folder>/last`, whole or not at all; every process must call it."""
    weights = full_state_dict(model)
    optimizer_state = full_optimizer_state(model, optimizer)

    def write(path: Path) -> None:
        path.mkdir(parents=True)
        write_weights(path / "model.safetensors", weights)
        torch.save({"optimizer": optimizer_state, "progress": asdict(progress)}, path / "training_state.pt")

    if accelerator.is_main_process:
        try:
            write_atomically(folder / LAST, write)
        except RuntimeError as error:  # how torch says that a disk is full
            reason = first_line(error)
            raise UserError(f"{folder / LAST}: cannot be written ({reason}); free some space") from None
    accelerator.wait_for_everyone()


def save_best(folder: Path, accelerator: Accelerator, model: nn.Module, description: dict) -> None:
    """Writes the weights and their description (`model.json`) into the experiment's folder."""
    weights = full_state_dict(model)
    if accelerator.is_main_process:
        write_weights(folder / "model.safetensors", weights)
        write_json(folder / "model.json", description, indent=2)
    accelerator.wait_for_everyone()


def load_last_progress(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restores the optimizer and tells how far the run was; after the model is distributed."""
    path = folder / LAST / "training_state.pt"
    remedy = f"remove {path.parent} to start anew"
    state = read_torch(path, remedy=remedy, mmap=False)
    try:
        load_optimizer_state(unwrap(model), optimizer, state["optimizer"])
        return Progress(**state["progress"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot continue from it ({first_line(error)}); {remedy}") from None
