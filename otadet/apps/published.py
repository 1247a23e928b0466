"""What a published name stands for: a checkpoint of otadet's in the cache folder."""

from __future__ import annotations

from pathlib import Path

from otadet.apps.convert import convert
from otadet.convert.download import fetch
from otadet.convert.published import PUBLISHED, cache_folder


def published_checkpoint(name: str) -> Path:
    """Of that name of `PUBLISHED`: fetched, checked and converted where it is not there yet.

    Raises `UserError` where it cannot be fetched, or is another file than was published.
    """
    one = PUBLISHED[name]
    target = cache_folder() / f"{name}.pth"
    if not target.is_file():
        convert(fetch(one.address, cache_folder() / one.file_name, one.sha256, one.bytes), target)
    return target
