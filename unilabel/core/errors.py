"""The error of user mistakes."""

from __future__ import annotations


class UniLabelError(ValueError):
    """A mistake in what the user gave: a file, a configuration key, a class list.

    The message names the thing, what was found, what was expected and the cure. The command line
    shows it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # PyTorch raises an error of a loader's worker process again, as text with its traceback.
        if "\nOriginal Traceback" in message:
            message = message.rsplit("UniLabelError: ", 1)[-1].strip()
        super().__init__(message)
