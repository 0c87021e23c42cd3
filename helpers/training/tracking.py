"""The course of a run: loss and speed, in `metrics.jsonl` and in a tracker such as TensorBoard."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from common.errors import UserError, one_line
from common.files import append_json_line, write_text

PROJECT = "prismer"  # the collection of runs in wandb and trackio
METRICS = "metrics.jsonl"


def check_tracker(name: str | None) -> None:
    """Checks that a tracker of `--log_with` is installed; accelerate leaves a missing one out in silence.

    Raises:
        UserError: with the command that installs it.
    """
    if name is not None and name not in map(str, get_available_trackers()):
        raise UserError(f"--log_with {name}: is not installed; install it with: pip install {name}")


class Tracking:
    """Writes records of a run to `<folder>/metrics.jsonl` and to the accelerator's tracker, if it has one.

    Args:
        accelerator: what `start_accelerator` gave; only its main process writes.
        folder: the experiment's.
        settings: of the run, for the tracker.
        resumed_at: the step at which the run resumes; None: it is new.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, settings: dict[str, Any], *, resumed_at: int | None
    ) -> None:
        self.file = folder / METRICS
        self._accelerator = accelerator
        if not (accelerator.log_with and accelerator.is_main_process):
            return
        folder.mkdir(parents=True, exist_ok=True)
        name, new = str(accelerator.log_with[0]), resumed_at is None
        # TensorBoard writes to <folder>/tensorboard, wandb to <folder>/wandb, trackio to its own cache.
        project = name if name == "tensorboard" else PROJECT
        options: dict[str, Any] = {}
        if name == "tensorboard" and not new:
            options = {"purge_step": resumed_at + 1}  # later steps are done again
        elif name == "wandb":
            options = {"name": folder.name, "dir": str(folder), "id": _wandb_id(folder, new), "resume": "allow"}
        elif name == "trackio":
            options = {"name": folder.name, "embed": False, "resume": "never" if new else "allow"}
        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
        }
        try:
            accelerator.init_trackers(project, plain, {name: options})
        except Exception as error:  # each library raises its own: not logged in, no network, no room
            raise UserError(f"--log_with {name}: does not start: {one_line(error)}") from None

    def log(self, record: dict[str, Any], step: int) -> None:
        """Writes a record of names and numbers, after so many optimizer steps."""
        if self._accelerator.is_main_process:
            append_json_line(self.file, record)
            self._accelerator.log(record, step=step)

    def finish(self) -> None:
        """Waits until the tracker has written everything."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _wandb_id(folder: Path, new: bool) -> str:
    """wandb's name of a run: a new run gets one, a resumed run has it in its folder."""
    file = folder / "wandb" / "run_id"
    if not new and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    run_id = uuid4().hex[:12]
    write_text(file, run_id + "\n")
    return run_id


@dataclass
class _Span:
    """Counts from a moment on."""

    began: float
    step: int
    samples: int = 0
    waited: float = 0.0


class Meter:
    """The speed of a training loop, by the host's clock: a device is never waited for.

    A GPU works on while its host prepares the next steps, so a single step cannot be timed here; a span
    of steps can, at whose end the host waits anyway to read the loss.

    Args:
        accelerator: every process is taken to read as many samples as this one.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._epoch = self._recent = _Span(0.0, 0)
        self._asked = self._ended = 0.0

    def epoch_began(self, step: int) -> None:
        """An epoch begins, after so many optimizer steps; the loader is asked for a batch."""
        self._asked = time.perf_counter()
        self._epoch, self._recent = _Span(self._asked, step), _Span(self._asked, step)

    def batch_came(self, samples: int) -> None:
        """The loader has given a batch."""
        waited = time.perf_counter() - self._asked
        for span in (self._epoch, self._recent):
            span.waited += waited
            span.samples += samples

    def batch_ended(self) -> None:
        """The loader is asked for the next batch."""
        self._asked = time.perf_counter()

    def epoch_ended(self) -> None:
        """The loader has no more batches."""
        self._ended = time.perf_counter()

    def recent(self, step: int) -> dict[str, float]:
        """Speed since the last call, or since the epoch began; see `_speed`."""
        span, now = self._recent, time.perf_counter()
        self._recent = _Span(now, step)
        return self._speed(span, now, step)

    def epoch(self, step: int) -> dict[str, float]:
        """Speed of the whole epoch, and its `train_seconds`."""
        return {"train_seconds": self._ended - self._epoch.began} | self._speed(self._epoch, self._ended, step)

    def _speed(self, span: _Span, now: float, step: int) -> dict[str, float]:
        """Samples a second over all processes; seconds a step, and the loader's share of them; memory in GiB.

        Memory is the peak so far on this process's GPU; on a CPU, what is resident now.
        """
        seconds, steps = now - span.began, max(step - span.step, 1)
        speed = {}
        if span.samples:  # none, if a run resumes at the end of an epoch
            speed = {
                "samples_per_second": span.samples * self._accelerator.num_processes / seconds,
                "step_seconds": seconds / steps,
                "data_seconds": span.waited / steps,
            }
        if self._accelerator.device.type == "cuda":
            return speed | {"gpu_peak_gib": torch.cuda.max_memory_allocated(self._accelerator.device) / 2**30}
        return speed | {"rss_gib": psutil.Process().memory_info().rss / 2**30}
