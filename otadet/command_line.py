"""How tools read their command line: mistakes end in one line, and values may begin with a minus."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_NUMBER = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)
"""How a value begins, and no option: argparse itself knows -1 and -0.5, but not -1e-3, -5epochs or -3x4."""


class Parser(ArgumentParser):
    """An `ArgumentParser` whose errors are one line, as all others of a tool; it prints its description as it is."""

    of_unknown = ""
    """What is said of options that there are not."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": RawDescriptionHelpFormatter, **options})
        self._negative_number_matcher = _NUMBER

    def error(self, message: str) -> NoReturn:
        hint = self.of_unknown if message.startswith("unrecognized arguments: -") else ""
        print(f"error: {message}{hint}; {self.prog} --help has all options", file=sys.stderr)
        sys.exit(2)


def as_path(text: str) -> Path:
    """The path of an option. An empty text, as of a shell's variable that is not set, would be the current folder."""
    return Path(as_name(text))


def at_least(low: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `low` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < low:
            raise ArgumentTypeError(f"{value}: must be at least {low}")
        return value

    return number


def as_name(text: str) -> str:
    """A path or a name, but no empty text."""
    if not text:
        raise ArgumentTypeError("is empty")
    return text
