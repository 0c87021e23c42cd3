"""Progress bars; where there is no terminal, as in a log file, a line now and then."""

import math
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines


class _Lines(tqdm):
    """A bar that prints itself as a line of its own, and once more at its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._printed = time.monotonic()
        super().__init__(*args, **options)

    def _print(self) -> None:
        self._printed = time.monotonic()
        self.fp.write(f"{self}\n")
        self.fp.flush()

    def refresh(self, *_args: Any, **_options: Any) -> None:
        if time.monotonic() - self._printed >= EVERY:
            self._print()

    def clear(self, *_args: Any, **_options: Any) -> None:
        """There is nothing to make room for."""

    def close(self) -> None:
        if not self.disable:
            self._print()
            self.last_print_t = -math.inf  # as if nothing had been shown, which would be wiped out
        super().close()


def progress_bar(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """A progress bar on stderr, with the options of tqdm's."""
    bar = tqdm if sys.stderr is not None and sys.stderr.isatty() else _Lines
    return bar(iterable, **options)
