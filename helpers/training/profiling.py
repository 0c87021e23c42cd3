"""A trace of a few training steps, which https://ui.perfetto.dev and chrome://tracing open."""

from pathlib import Path

from torch.profiler import profile

from common.files import numbered, write_atomically

WARM_UP, TRACED = 10, 3  # batches


class Trace:
    """Traces a few batches of an epoch, and writes `trace.json`.

    Args:
        folder: of the experiment.
        batches: of the epoch, 0 to trace nothing; those after the first `WARM_UP` are traced, or the last ones
            if there are fewer.
    """

    def __init__(self, folder: Path, batches: int) -> None:
        self.folder = folder
        self._traced = min(TRACED, batches)
        self._last = min(WARM_UP + TRACED, batches)
        self._profiler: profile | None = None

    def begin_batch(self, number: int) -> None:
        """Batch `number` begins, counted from 1."""
        if self._traced and number == self._last - self._traced + 1:
            self._profiler = profile()
            self._profiler.start()

    def end_batch(self, number: int) -> None:
        """Batch `number` has ended."""
        if number == self._last:
            self._profiler.stop()
            path = numbered(self.folder / "trace.json")
            write_atomically(path, lambda name: self._profiler.export_chrome_trace(str(name)))
            print(f"{path}: a trace of {self._traced} batches; open it in https://ui.perfetto.dev")
