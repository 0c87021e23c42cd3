"""The one exception that is the user's to mend, and others put in a line."""


class UserError(Exception):
    """A mistake in the input: a file, a key, a name.

    Its message is one line that names the file and the remedy. The scripts print it and exit with
    code 2, without a stack trace; everything else that is raised is a defect of ours.

    Like every exception here it can be made of one text alone: torch makes what was raised in a loader's
    worker again, of its stack trace as a text. The message is the last line of that.
    """

    def __init__(self, message: str) -> None:
        if "\nOriginal Traceback (most recent call last):\n" in message:
            own = type(self)
            message = message.strip().rpartition("\n")[2].removeprefix(f"{own.__module__}.{own.__name__}: ")
        super().__init__(message.strip().replace("\n", "\\n"))


def one_line(error: Exception) -> str:
    """What an exception says, in one line; its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: Exception) -> str:
    """The first line of what an exception says, where torch goes on for paragraphs."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
