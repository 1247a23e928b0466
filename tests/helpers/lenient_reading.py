"""What a reader that is told to look for faults must make of a file, beside what it makes of it for a training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from otadet.data.annotations import Annotations
from otadet.errors import UserError


def check_lenient(read: Callable[[], Annotations], strict: Annotations | None) -> None:
    """strict: what a training has of the files; None where it is refused. Of what is right nothing else is made, and
    nothing that is wrong is passed over.
    """
    try:
        found = read()
    except UserError:
        assert strict is None
        return
    names = list(found.file_names)
    if strict is None:
        assert found.broken or found.unlisted or len(set(names)) < len(names)
    else:
        assert not found.broken
        assert names == list(strict.file_names)
        assert np.array_equal(found.boxes, strict.boxes, equal_nan=True)
        assert np.array_equal(found.image_rows, strict.image_rows)
    for entry in found.broken:
        assert entry.file
        assert entry.problem
        assert len(entry.problem) < 3000
        assert not any(ord(character) < 32 for character in entry.problem)
        entry.problem.encode()
