"""Steps that were skipped, since loss or gradient was not finite: too many in a row end the run."""

from collections.abc import Callable
from dataclasses import dataclass
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
    """A step that the device may not have finished yet."""

    number: int
    samples: list[int]
    norm: Tensor  # a copy on the host, on its way
    copied: torch.cuda.Event | None

    def skipped(self) -> bool:
        """Whether it was skipped; waits until the device knows."""
        if self.copied is not None:
            self.copied.synchronize()
        return not bool(torch.isfinite(self.norm))


class SkippedSteps:
    """Watches the steps of a run one step late, so that the device always has work.

    All processes see the same norms, so all stop together.

    Args:
        limit: as many in a row end the run; single ones happen, in float16 by design.
        file: where the samples of these are written then.
        accelerator: the processes.
        names: gives the names of all samples of the data set.
    """

    def __init__(self, limit: int, file: Path, accelerator: Accelerator, names: Callable[[], list[str]]) -> None:
        self.limit, self.file, self.accelerator, self.names = limit, file, accelerator, names
        self._in_a_row: list[_Step] = []
        self._pending: _Step | None = None

    def note(self, number: int, norm: Tensor, samples: list[int]) -> bool:
        """Takes note of a step, and looks at the one before.

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
        """Looks at the last step that was noted, if that was not done yet.

        Returns:
            Whether it was skipped.
        """
        step, self._pending = self._pending, None
        if step is None:
            return False
        if not step.skipped():
            self._in_a_row.clear()
            return False
        self._in_a_row.append(step)
        if self.accelerator.is_main_process:
            tqdm.write(f"step {step.number} skipped: its loss or gradient is not finite")
        if len(self._in_a_row) >= self.limit:
            self._stop()
        return True

    def _stop(self) -> None:
        names = self.names()
        mine = [[names[index] for index in step.samples] for step in self._in_a_row]
        everyone = gather_object([mine])
        if self.accelerator.is_main_process:
            steps = [
                {"step": step.number, "samples": [name for process in everyone for name in process[place]]}
                for place, step in enumerate(self._in_a_row)
            ]
            write_json(self.file, steps, indent=2)
        raise UserError(
            f"{self.limit} steps in a row had a loss or gradient that is not finite; lower init_lr, set "
            f"max_grad_norm, or look at the samples in {self.file}"
        )
