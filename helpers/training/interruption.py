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
    """Heeds SIGTERM, SIGINT and SIGHUP after a step, while steps are taken; `common.cli.run` otherwise.

    All processes must stop after the same step, whichever of them got the signal. They agree in a
    collective operation of the hosts, of one number, which runs while the step does: no device waits for
    it. Every process must make one, from its main thread.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._received = 0
        # torchrun sends on what a terminal or a cluster has sent to all processes already.
        self._once_more = "TORCHELASTIC_RUN_ID" not in os.environ
        self._group = None
        if accelerator.num_processes > 1:
            self._group = torch.distributed.new_group(timeout=processes.PATIENCE, backend="gloo")

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT and self._once_more:
            raise Stopped.by(number)
        if not self._received:
            self._received = number
            hint = "; Ctrl-C: stops at once" if self._once_more else ""
            say(f"\n{signal.Signals(number).name}: saves after this step{hint}\n")

    @contextmanager
    def after_a_step(self) -> Iterator[None]:
        """Meanwhile a signal is only noted; all must be saved at the end.

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
        """Begins to find out, at the beginning of a step, whether any process is to stop."""
        if self._group is not None:
            self._votes = torch.tensor([self._received])
            self._work = torch.distributed.all_reduce(
                self._votes, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
            )

    def answer(self) -> int:
        """The signal after which all processes are to stop, at the end of the step; 0 if there was none."""
        if self._group is None:
            return self._received
        self._work.wait()
        return int(self._votes)
