"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake in the input: a file, a key, a name.

    Its message is one line that names the file and the remedy. The scripts print it and exit with
    code 2, without a stack trace; everything else that is raised is a defect of ours.
    """
