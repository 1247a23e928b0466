"""What a published name stands for: a checkpoint of otadet's in the cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import otadet
from otadet.apps.convert import convert
from otadet.convert.published import PUBLISHED, fetch_published, is_published, meant_name
from otadet.download import cache_folder
from otadet.errors import UserError


def checkpoint_path(named: str | Path) -> Path:
    """The file of what a user names as a checkpoint: a file, which goes first, or a published name.

    Raises `UserError` for a published one as `published_checkpoint` does, and where a name is neither.
    """
    text = str(named)
    if is_published(text):
        return published_checkpoint(text)
    if text in PUBLISHED:
        print(f"note: {text} is the file in this folder, not the published weights of that name", file=sys.stderr)
    elif not os.path.exists(text) and (meant := meant_name(text)):
        raise UserError(f"{text}: no such checkpoint{meant}")
    return Path(named)


def published_checkpoint(name: str) -> Path:
    """Of that name of `PUBLISHED`: fetched, checked and converted where it is not there yet.

    Raises `UserError` where it cannot be fetched, or is another file than was published.
    """
    # Another version may convert in another way.
    target = cache_folder() / otadet.__version__ / f"{name}.pth"
    if not target.is_file():
        convert(fetch_published(name), target)
    return target
