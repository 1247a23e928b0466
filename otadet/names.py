"""Names of classes, whatever file they come from: fit to print, to draw and to compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from otadet.errors import UserError

MAX_CLASS_NAME = 200
"""Characters of the longest name of a class."""

# Control characters and what ends a line; escape sequences begin with one of them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Surrogates, which no file can hold and the fonts do not survive, and marks that turn the direction of a line.
_UNPRINTABLE = re.compile("[\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def printable(text: str) -> str:
    """`text` in one line: each run of control characters is a space, what cannot be printed is U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", _CONTROL.sub(" ", text))


def clean_name(name: str) -> str:
    """A name as it is shown and compared.

    Each run of control characters becomes a space, spaces at the ends go, what cannot be printed becomes U+FFFD, and an
    accent is one character with its letter (NFC).
    """
    return normalize("NFC", printable(name).strip())


def clean_class_names(names: object, source: str | Path) -> tuple[str, ...]:
    """(C,) the names, each as `clean_name` has it.

    source: the file that they are from. Raises `UserError` naming it, and the entry, unless they are a list or a tuple
    of texts that are not empty, of at most `MAX_CLASS_NAME` characters, and all different.
    """
    if not isinstance(names, list | tuple) or not names:
        raise UserError(f"{source}: class names are {_shown(names)}; expected is a list of names")
    cleaned: dict[str, int] = {}
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise UserError(f"{source}: class name [{position}] is {_shown(name)}, not a text")
        if len(name) > MAX_CLASS_NAME:
            raise UserError(
                f"{source}: class name [{position}] has {len(name)} characters ({_shown(name)}); at most "
                f"{MAX_CLASS_NAME} are allowed"
            )
        name = clean_name(name)
        if not name:
            raise UserError(f"{source}: class name [{position}] is empty")
        if name in cleaned:
            raise UserError(f"{source}: class names [{cleaned[name]}] and [{position}] are both {name!r}")
        cleaned[name] = position
    return tuple(cleaned)


def names_as_trained(own: Sequence[str] | None, trained: Sequence[str]) -> tuple[str, ...] | None:
    """The class names to read data with that a checkpoint is used on: its own, unless the experiment has other ones.

    own: those of the experiment, None where it takes them from the data; the same names in another order are not other
    ones. trained: those of the checkpoint.
    """
    if trained and (own is None or sorted(own) == sorted(trained)):
        return tuple(trained)
    return None if own is None else tuple(own)


def name_list(names: Sequence[str], at_most: int = 20) -> str:
    """The names with commas, for a message; of many only the first."""
    return ", ".join([*names[:at_most], *(["..."] if len(names) > at_most else [])])


_ONE = re.compile(
    r"(?<![\d.,x])1 (degenerate |unreadable |crowd |ignored |more |wrong |label |XML |file )?"
    r"(image|boxe|classe|region|categorie|entrie|iteration|picture|split|epoch|tensor|annotation|label|outline|file|name)s\b"
)


def one_agrees(text: str) -> str:
    """`text` that counts things, with "1 boxes" and its kin as "1 box"."""
    endings = {"boxe": "box", "classe": "class", "categorie": "category", "entrie": "entry"}
    return _ONE.sub(lambda found: f"1 {found[1] or ''}{endings.get(found[2], found[2])}", text)


def _shown(value: object) -> str:
    """The value for a message, short and in ASCII, so that no text of a file reaches the terminal as it is."""
    text = ascii(value[:50] if isinstance(value, str | list | tuple) else value)
    return text if len(text) <= 60 else text[:60] + "..."
