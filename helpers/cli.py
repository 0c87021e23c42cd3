"""How the scripts start and end: one line and an exit code for a user's mistake, no stack trace."""

import errno
import sys
from collections.abc import Callable

from model.errors import UserError

USER_ERROR = 2  # argparse's own code for bad arguments
INTERRUPTED = 130


def run(main: Callable[[], int | None]) -> None:
    """Runs a script's main function and exits with its code.

    A `UserError` and a full disk become one line on stderr and exit code 2.
    """
    try:
        code = main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{where}: free some space or choose another folder", file=sys.stderr)
        code = USER_ERROR
    sys.exit(code)
