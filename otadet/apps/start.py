"""How a training is asked for: what each of its processes is told beside the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otadet.engine.checkpoint import ReadCheckpoint


@dataclass(frozen=True)
class Start:
    """Where a training goes, and what it begins with."""

    output: Path
    """Its folder."""
    resume: str | Path | None = None
    """Checkpoint of a run to go on with; `AUTO`: the newest one in the output folder, where there is one."""
    checkpoint: str | Path | None = None
    """One whose weights, where they fit, are the start of a new run; a resumed one leaves it aside."""
    insist_on_amp: bool = False
    """Warn where mixed precision is left out, as it would only hurt."""
    read: ReadCheckpoint | None = None
    """The checkpoint of either, where it was read already."""
