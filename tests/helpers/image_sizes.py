"""(height, width) of what `read_image` returns, by the file's header."""

from __future__ import annotations

from pathlib import Path

from otadet.data.images import DEFAULT, ReadOptions, check_header, look_at_header, shape


def read_size(path: str | Path, options: ReadOptions = DEFAULT) -> tuple[int, int]:
    return shape(look_at_header(path, options), options)


def check_image(path: str | Path, options: ReadOptions = DEFAULT) -> tuple[int, int]:
    return shape(check_header(path, options), options)
