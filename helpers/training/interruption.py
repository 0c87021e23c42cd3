"""SIGTERM, SIGINT and SIGHUP while a model trains."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from common.cli import Stopped, handled, say
from common.workers import STOPPING
from helpers.training.distribution import processes


class StopRequest:
    """Delays signals to the end of a step; outside of training steps `common.cli.run` handles them.

    All processes must stop after the same step, whichever of them got the signal. The hosts agree by a
    collective operation on one number, which runs while the step does: no device waits for it. Every process
    must make one, from its main thread.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._received = 0
        # torchrun forwards what a terminal or a cluster has already sent to all processes.
        self._once_more = "TORCHELASTIC_RUN_ID" not in os.environ
        self._group = None
        if accelerator.num_processes > 1:
            self._group = torch.distributed.new_group(timeout=processes.PATIENCE, backend="gloo")

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT and self._once_more:
            raise Stopped.by(number)
        if not self._received:
            self._received = number
            hint = "; a second Ctrl-C stops at once" if self._once_more else ""
            say(f"\n{signal.Signals(number).name}: saves after this step{hint}\n")

    @contextmanager
    def after_a_step(self) -> Iterator[None]:
        """Notes signals for `ask` and `answer`. The run must be saved at the end.

        Raises:
            Stopped: a signal came after the last step.
        """
        with handled(STOPPING, self._receive):
            yield
            self.ask()
            if number := self.answer():
                raise Stopped.by(number)
        if self._received:
            raise Stopped.by(self._received)

    def ask(self) -> None:
        """Begins to find out, before a step, whether any process has got a signal."""
        if self._group is not None:
            self._votes = torch.tensor([self._received])
            self._work = torch.distributed.all_reduce(
                self._votes, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
            )

    def answer(self) -> int:
        """The signal after which all processes must stop now, after the step; 0: none."""
        if self._group is None:
            return self._received
        self._work.wait()
        return int(self._votes)
