"""Progress bars; where there is no terminal, as in a log file, a line now and then."""

import math
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines


class _Lines(tqdm):
    """A bar that prints a line of its own each minute, and one at its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._printed = time.monotonic()
        super().__init__(*args, **options)

    def refresh(self, *_args: Any, every: float | None = None, **_options: Any) -> None:
        if time.monotonic() - self._printed >= (EVERY if every is None else every):
            self._printed = time.monotonic()
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, *_args: Any, **_options: Any) -> None:
        pass

    def close(self) -> None:
        if not self.disable:
            self.refresh(every=0)
            self.last_print_t = -math.inf  # or tqdm would erase a line at the end
        super().close()


def progress_bar(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """A progress bar on stderr, with tqdm's options."""
    bar = tqdm if sys.stderr is not None and sys.stderr.isatty() else _Lines
    return bar(iterable, **options)
