"""SIGTERM and SIGINT while a model trains."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from helpers.cli import Stopped
from helpers.parallel import processes


class StopRequest:
    """Heeds SIGTERM and SIGINT: while steps are taken, after one of them; otherwise at once.

    All processes must stop after the same step, whichever of them got the signal. They agree in a
    collective operation of the hosts, of one number, which runs while the step does: no device waits for
    it. Every process must make one, from its main thread.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._received, self._steps = 0, False
        # torchrun sends on what a terminal or a cluster has sent to all processes already.
        self._once_more = "TORCHELASTIC_RUN_ID" not in os.environ
        self._group = None
        if accelerator.num_processes > 1:
            self._group = torch.distributed.new_group(timeout=processes.PATIENCE, backend="gloo")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        insists = self._received and number == signal.SIGINT and self._once_more
        if insists or not self._steps:
            raise Stopped.by(number)
        if not self._received:
            self._received = number
            hint = "; Ctrl-C: stops at once" if self._once_more else ""
            # Not `print`: what was interrupted may be printing.
            os.write(2, f"\n{signal.Signals(number).name}: saves after this step{hint}\n".encode())

    @contextmanager
    def after_a_step(self) -> Iterator[None]:
        """Meanwhile a signal is only noted; all must be saved at the end.

        Raises:
            Stopped: a signal came after the last step.
        """
        self._steps = True
        try:
            yield
            self.ask()
            if number := self.answer():
                raise Stopped.by(number)
        finally:
            self._steps = False
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


def leave_signals_to_the_parent() -> None:
    """For a worker of a data loader: terminals and clusters signal it as well, but the parent needs it on.

    It ends with its parent: see `end_workers`; if that is killed, torch's workers notice.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_workers() -> None:
    """To be registered with `atexit`: a loader's workers heed no signal, and Python would wait for them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for an error
    for worker in multiprocessing.active_children():
        worker.kill()
