"""What can be wrong with a label of one image."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import UserError, one_line


class MissingLabel(UserError):
    """An image has no label."""


class DamagedLabel(UserError):
    """A label is there but is not whole; data sets skip its image."""


@contextmanager
def reading(label: object, remedy: str) -> Iterator[None]:
    """Around what reads a label, of which the readers of pictures, JSON and pickles raise all there is.

    Raises:
        DamagedLabel: in place of any exception but a `UserError`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise DamagedLabel(f"label {label}: damaged ({one_line(error)[:100]}); {remedy}") from None
