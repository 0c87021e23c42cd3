"""How a run goes: its loss and speed, in `metrics.jsonl` and in a tracker such as TensorBoard."""

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

PROJECT = "prismer"  # what trackers that collect several runs call their collection
METRICS = "metrics.jsonl"
WANDB_ID = "wandb/run_id"


def check_tracker(name: str | None) -> None:
    """That a tracker of `--log_with` is installed; accelerate would leave it out in silence.

    Raises:
        UserError: with the command that installs it.
    """
    if name is not None and name not in map(str, get_available_trackers()):
        raise UserError(f"--log_with {name}: is not installed; install it with: pip install {name}")


class Tracking:
    """Writes records of a run to `<folder>/metrics.jsonl` and to the accelerator's tracker, if it has one.

    Args:
        accelerator: what `start_accelerator` gave; records of the main process alone are written.
        folder: the experiment's.
        settings: of the run, for the tracker.
        resumed_at: the step at which the run goes on; None if it is new.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, settings: dict[str, Any], *, resumed_at: int | None
    ) -> None:
        self.file = folder / METRICS
        self._accelerator = accelerator
        if accelerator.log_with and accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self._start(folder, settings, resumed_at)

    def _start(self, folder: Path, settings: dict[str, Any], resumed_at: int | None) -> None:
        name = str(self._accelerator.log_with[0])
        # TensorBoard writes to <folder>/tensorboard, wandb to <folder>/wandb, trackio to its own cache.
        project = name if name == "tensorboard" else PROJECT
        new = resumed_at is None
        run_id = _run_id(folder / WANDB_ID, new) if name == "wandb" else None
        options: dict[str, dict[str, Any]] = {
            # What came after that step is done again: TensorBoard forgets it.
            "tensorboard": {} if new else {"purge_step": resumed_at + 1},
            "wandb": {"name": folder.name, "dir": str(folder), "id": run_id, "resume": "allow"},
            "trackio": {"name": folder.name, "embed": False, "resume": "never" if new else "allow"},
        }
        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
        }
        try:
            self._accelerator.init_trackers(project, plain, options)
        except Exception as error:  # each library has its own: not logged in, no network, no place
            raise UserError(f"--log_with {name}: does not start: {one_line(error)}") from None

    def log(self, record: dict[str, Any], step: int) -> None:
        """Writes a record, on the main process.

        Args:
            record: names and numbers.
            step: optimizer steps taken.
        """
        if self._accelerator.is_main_process:
            append_json_line(self.file, record)
            self._accelerator.log(record, step=step)

    def finish(self) -> None:
        """Waits until the tracker has written everything."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _run_id(file: Path, new: bool) -> str:
    """What wandb knows a run by: a new run gets one, a resumed one has it in the experiment's folder."""
    if not new and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    run_id = uuid4().hex[:12]
    write_text(file, run_id + "\n")
    return run_id


@dataclass
class _Span:
    """What is counted from some moment on."""

    began: float
    step: int
    samples: int = 0
    waited: float = 0.0


class Meter:
    """The speed of a training loop, by the host's clock: a device is never waited for.

    A GPU works on while its host prepares the next steps, so a single step cannot be timed here; a span
    of steps can, whose end the host awaits anyway to read the loss.

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
        """Samples a second over all processes; seconds a step, and of these the wait for the loader."""
        seconds, steps = now - span.began, max(step - span.step, 1)
        return {
            "samples_per_second": span.samples * self._accelerator.num_processes / seconds,
            "step_seconds": seconds / steps,
            "data_seconds": span.waited / steps,
            **memory(self._accelerator.device),
        }


def memory(device: torch.device) -> dict[str, float]:
    """GiB of this process: the peak on its GPU so far; on a CPU what is resident now."""
    if device.type == "cuda":
        return {"gpu_peak_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    return {"rss_gib": psutil.Process().memory_info().rss / 2**30}
