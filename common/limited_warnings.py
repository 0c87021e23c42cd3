"""A logger that repeats each kind of warning only a few times: there may be millions of samples."""

import logging
from collections import Counter

MOST = 20  # warnings of a kind, in each process


class LimitedWarnings:
    """Logs each kind of warning `MOST` times at most, and says that it stops; `name`: the logger's."""

    def __init__(self, name: str) -> None:
        self._logger, self._said = logging.getLogger(name), Counter()

    def warning(self, kind: str, *values: object) -> None:
        """Logs a warning; `kind` is its text, with `%s` in place of each value."""
        self._said[kind] += 1
        if self._said[kind] <= MOST:
            self._logger.warning(kind, *values)
        if self._said[kind] == MOST:
            self._logger.warning("further warnings of this kind are left out: %s", kind.replace("%s", "..."))
