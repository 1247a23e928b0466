"""What is said of settings that are no pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence


def incomplete(words: Sequence[str]) -> str:
    """The message about an odd number of words, with what was probably meant."""
    said = f"{' '.join(words)}: overrides come as pairs, name value; the last one is incomplete"
    for word in words:
        if found := re.fullmatch(r"([a-z_][\w.]*)=(.*)", word):
            return f"{said}; write {found[1]} {found[2] or 'VALUE'} for {word}"
    for word in words[::2]:
        if os.path.exists(word):
            return f"{said}; {word} is {_named_as(word)}"
    return said


def _named_as(path: str) -> str:
    """What a path is, and how it is named."""
    if os.path.isdir(path):
        return f"a folder: as that of the pictures it is data {path}"
    if path.endswith(".py"):
        return f"a file of Python: as that of an experiment it is -f {path}"
    if path.endswith((".pth", ".onnx")):
        return f"a file: as the checkpoint it is -c {path}"
    return f"a file: as that of the data it is data {path}"
