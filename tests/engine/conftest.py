"""What several test files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.logs import logged


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines of the log, each with its level."""
    with logged(form="{level} {message}") as lines:
        yield lines
