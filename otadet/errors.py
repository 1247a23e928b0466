"""Exceptions that mean "the user can fix this"."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what otadet was given: the message names the file, the value and the fix.

    The tools print the message alone, without a traceback, and exit with status 2.
    """


class OutputError(UserError):
    """A file or a folder cannot be written."""


class MainProcessError(UserError):
    """A `UserError` of the main process, which says it, in the other processes of a training."""


def reason_of(error: Exception) -> str:
    """What went wrong with a file, in the system's words and without the file's name, where it has any."""
    return str(getattr(error, "strerror", None) or error)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
