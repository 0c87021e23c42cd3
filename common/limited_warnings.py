"""Warnings of a kind are said a few times: there may be millions of samples to warn of."""

import logging
from collections import Counter

MOST = 20  # warnings of a kind, in each process


class SparingLog:
    """Logs a kind of warning `MOST` times at most, and says that it stops.

    Args:
        name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger, self._said = logging.getLogger(name), Counter()

    def warning(self, kind: str, *values: object) -> None:
        """Logs one of a kind, unless it was said often enough.

        Args:
            kind: the text, with `%s` in place of what differs.
            values: what is put in.
        """
        self._said[kind] += 1
        if self._said[kind] <= MOST:
            self._logger.warning(kind, *values)
        if self._said[kind] == MOST:
            self._logger.warning("further warnings of this kind are left out: %s", kind.replace("%s", "..."))
