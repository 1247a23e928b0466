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
            return f"{said}; {word} is there: pictures are data {word}, an experiment is -f {word}"
    return said
