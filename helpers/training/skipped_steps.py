"""Skipped steps, whose loss or gradient was not finite: too many in a row end the run."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from common.errors import UserError
from common.files import write_json


@dataclass
class _Step:
    number: int
    samples: list[int]
    norm: Tensor  # on the host; the copy may be under way
    copied: torch.cuda.Event | None


class SkippedSteps:
    """Watches the steps of a run one step late, so that the device always has work.

    All processes see the same norms, so all stop together.

    Args:
        limit: this many in a row end the run; single ones happen, in float16 by design.
        file: where their samples are written then.
        accelerator: the processes.
        names: gives the names of all samples of the data set.
    """

    def __init__(self, limit: int, file: Path, accelerator: Accelerator, names: Callable[[], list[str]]) -> None:
        self.limit, self.file, self.accelerator, self.names = limit, file, accelerator, names
        self._in_a_row: list[_Step] = []
        self._pending: _Step | None = None

    def note(self, number: int, norm: Tensor, samples: list[int]) -> bool:
        """Notes a step, and checks the one before.

        Args:
            number: of the step.
            norm: of its gradient, a scalar on the device; not finite if it was skipped.
            samples: their indices, those of this process.

        Returns:
            Whether the step before was skipped.

        Raises:
            UserError: too many in a row were skipped.
        """
        copied = None
        host = norm.to("cpu", non_blocking=True)
        if norm.is_cuda:
            copied = torch.cuda.Event()
            copied.record()
        skipped = self.check()
        self._pending = _Step(number, samples, host, copied)
        return skipped

    def check(self) -> bool:
        """Whether the last noted step was skipped; False if that was asked before. Raises as `note` does."""
        step, self._pending = self._pending, None
        if step is None:
            return False
        if step.copied is not None:
            step.copied.synchronize()
        if torch.isfinite(step.norm):
            self._in_a_row.clear()
            return False
        self._in_a_row.append(step)
        if self.accelerator.is_main_process:
            tqdm.write(f"step {step.number} skipped: its loss or gradient is not finite")
        if len(self._in_a_row) >= self.limit:
            self._end_run()
        return True

    def _end_run(self) -> None:
        names = self.names()
        mine = [[names[index] for index in step.samples] for step in self._in_a_row]
        by_step = zip(*gather_object([mine]), strict=True)  # each with the lists of all processes
        if self.accelerator.is_main_process:
            steps = [
                {"step": step.number, "samples": list(chain.from_iterable(samples))}
                for step, samples in zip(self._in_a_row, by_step, strict=True)
            ]
            write_json(self.file, steps, indent=2)
        raise UserError(
            f"{self.limit} steps in a row had a loss or gradient that is not finite; lower init_lr, set "
            f"max_grad_norm, or look at the samples in {self.file}"
        )
