"""The exception for mistakes that the user can correct, and the text of others in a line."""


class UserError(Exception):
    """A mistake in the input: a file, a key, a name.

    Its message is one line that names the file and the remedy. The scripts print it and exit with code 2,
    without a stack trace. Any other exception is a defect of ours.

    Exceptions here can be built from one text: torch raises an exception of a loader's worker again, with
    the stack trace as its text. The last line of that is the message.
    """

    def __init__(self, message: str) -> None:
        if "\nOriginal Traceback (most recent call last):\n" in message:
            own = type(self)
            message = message.strip().rpartition("\n")[2].removeprefix(f"{own.__module__}.{own.__name__}: ")
        super().__init__(message.strip().replace("\n", "\\n"))


def one_line(error: Exception) -> str:
    """An exception's message in one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: Exception) -> str:
    """The first line of an exception's message: torch writes paragraphs."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
