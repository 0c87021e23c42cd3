"""The checkpoints of a run: resuming from the newest, writing others, keeping the last ones; the best weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import accelerate
import torch
from torch.amp import GradScaler
from torch.optim import Optimizer

from common.errors import UserError
from common.files import write_json, write_text
from common.yaml_config import config_as_json
from helpers.checkpoints.load import DESCRIPTION
from helpers.checkpoints.weight_files import write_weights
from helpers.training.distribution.batch_norm import average_statistics, own_statistics, set_statistics
from helpers.training.distribution.sharding import full_state_dict
from helpers.training.resume.folders import checkpoint_folder, read_marker, remove_old, update_marker
from helpers.training.resume.training_state import (
    Progress,
    load_optimizer,
    load_process,
    load_progress,
    load_unreadable,
    restore_random_state,
    save_checkpoint,
)
from helpers.training.run import Run
from helpers.training.tracking import METRICS


class Saver:
    """Saves and restores a run; every process must make the same calls.

    Args:
        run: `checkpoint` is where it resumes; it trains on its loader's data set.
        optimizer: torch's.
        scaler: of the loss.
        description: of the model, see `describe`.
    """

    def __init__(self, run: Run, optimizer: Optimizer, scaler: GradScaler, description: dict[str, Any]) -> None:
        self.run, self.optimizer, self.scaler, self.description = run, optimizer, scaler, description
        self.dataset = run.train_loader.dataset
        self._newest: Path | None = None  # of this run
        self._about = {
            "seed": run.args.seed,
            "samples": self.dataset.epoch_length,
            "listed": len(self.dataset),
            "config": config_as_json(run.config),
            "versions": {module.__name__: module.__version__ for module in (torch, accelerate)},
        }

    def restore(self) -> Progress:
        """Restores the optimizer, and removes records of steps that will be done again from the metrics.

        Returns:
            How far the run was.

        Raises:
            UserError: the checkpoint is of another model or data set.
        """
        run, folder = self.run, self.run.checkpoint
        if folder is None:
            return Progress()
        progress, marker = load_progress(folder), read_marker(folder)
        for key in ("seed", "samples"):
            if progress.consumed and marker.get(key) != self._about[key]:
                reason = f"made inside an epoch with {key} {marker.get(key)}, this run has {self._about[key]}"
                raise UserError(f"{folder}: {reason}; go on with the same")
        load_optimizer(folder, run.accelerator, run.model, self.optimizer)
        if self.scaler.is_enabled() and marker.get("scaler"):
            self.scaler.load_state_dict(marker["scaler"])
        if marker.get("listed") == len(self.dataset):
            self.dataset.recall_unreadable(load_unreadable(folder, run.accelerator))
        self._newest = folder
        if run.is_main:
            rewind_metrics(run.folder / METRICS, progress)
            done = f"{progress.epoch} epochs, {progress.consumed} samples of the next, {progress.step} steps"
            print(f"goes on from {folder}: {done} are done")
            for key, value in self._about["config"].items():
                if (before := marker.get("config", {}).get(key)) != value:
                    print(f"changed since: {key} was {json.dumps(before)}, is {json.dumps(value)}")
        return progress

    def restore_epoch(self, progress: Progress) -> dict[str, Any] | None:
        """The sums of this process over the running epoch, if the run resumes inside one.

        Restores random states and running statistics, too, unless the number of processes has changed.
        """
        if not progress.consumed:
            return None
        own, states = load_process(self._newest, self.run.accelerator)
        if states is not None:
            restore_random_state(states)
            set_statistics(self.run.model, own["statistics"])
        return own

    def save(self, progress: Progress, sums: Mapping[str, Any]) -> None:
        """Writes a checkpoint, unless the step has one, and removes the oldest.

        Args:
            progress: of the run.
            sums: of this process over the epoch, tensors and numbers.
        """
        run = self.run
        folder = checkpoint_folder(run.folder, progress.step)
        if folder == self._newest:
            return
        about = {"progress": asdict(progress), "scaler": self.scaler.state_dict(), **self._about}
        statistics = own_statistics(run.model)
        own = {**sums, "statistics": statistics, "unreadable": self.dataset.unreadable}
        average_statistics(run.model, run.accelerator)
        save_checkpoint(folder, run.accelerator, run.model, self.optimizer, self.description, own, about)
        set_statistics(run.model, statistics)  # else weights would depend on when the run was saved
        self._newest = folder
        if run.is_main:
            remove_old(run.folder, run.config.keep_last, progress.step)

    def save_best(self) -> None:
        """Writes whole weights and `model.json` into the experiment's folder."""
        run = self.run
        weights = full_state_dict(run.model)
        if run.is_main:
            write_weights(run.folder / "model.safetensors", weights)
            write_json(run.folder / DESCRIPTION, self.description, indent=2)
        run.accelerator.wait_for_everyone()

    def note(self, progress: Progress) -> None:
        """Writes into the newest checkpoint that its epoch is evaluated."""
        if self.run.is_main:
            update_marker(self._newest, {"progress": asdict(progress)})


def rewind_metrics(file: Path, progress: Progress) -> None:
    """Removes the records of what is done again after a restart, and one that was cut off."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
            continue
        whole_epoch = "train_loss" in record
        if record["epoch"] <= progress.epoch if whole_epoch else record.get("step", 0) <= progress.step:
            kept.append(line + "\n")
    write_text(file, "".join(kept))
