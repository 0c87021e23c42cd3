"""A trace of a few training steps, which https://ui.perfetto.dev and chrome://tracing open."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from torch.profiler import profile

from common.files import numbered, write_atomically

T = TypeVar("T")
WARM_UP, TRACED = 10, 3  # batches


def traced(batches: Iterator[T], count: int, folder: Path) -> Iterator[T]:
    """The batches of an epoch; what is done with a few of them is written to `folder/trace.json`.

    Args:
        batches: they are traced after `WARM_UP` others, or before if there are fewer.
        count: how many there are.
        folder: of the experiment.
    """
    first = min(WARM_UP, max(0, count - TRACED))
    profiler = profile()
    for number, batch in enumerate(batches):
        if number == first:
            profiler.start()
        yield batch
        if number + 1 == min(first + TRACED, count):
            profiler.stop()
            path = numbered(folder / "trace.json")
            write_atomically(path, lambda name: profiler.export_chrome_trace(str(name)))
            print(f"{path}: a trace of {number + 1 - first} batches; open it in https://ui.perfetto.dev")
