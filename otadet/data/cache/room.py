"""How much room there is for a cache, and which images fit into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otadet.data.image_files import ImageFiles
from otadet.system_files import control_groups, text_of

GB = 1e9


def in_bytes(size: float) -> str:
    """A size in words: "12 MB", "3.45 GB"."""
    return f"{size / GB:.2f} GB" if size >= GB else f"{size / 1e6:.0f} MB"


@dataclass(frozen=True, eq=False)
class Plan:
    """Which of S images a cache keeps, decided before it has any of them."""

    sizes: np.ndarray
    """(S,) int64 bytes of each image, decoded."""
    room: int
    """Bytes that the cache may have."""

    @classmethod
    def of(cls, images: ImageFiles, room: int) -> Plan:
        return cls(decoded_bytes(images), room)

    @property
    def kept(self) -> np.ndarray:
        """(S,) bool: the first, as many as fit. All are used once per epoch, so none is worth more."""
        return self.sizes.cumsum() <= self.room

    def __str__(self) -> str:
        needed, kept = int(self.sizes.sum()), self.kept
        text = f"{len(kept):,} images have {in_bytes(needed)} decoded"
        if kept.all():
            return text
        return f"{text}, but there is room for {in_bytes(self.room)}: {100 * kept.mean():.0f} % of them are kept"


def decoded_bytes(images: ImageFiles) -> np.ndarray:
    """(S,) int64 bytes of each image as it is decoded."""
    return 3 * images.decoded_sizes().prod(axis=1)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take: of the machine, or what its control groups leave of it.

    root: where /proc and /sys are looked for. None where neither says (macOS, Windows).
    """
    known = re.search(r"^MemAvailable:\s*(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE)
    found = [] if known is None else [1024 * int(known[1])]
    for folder in control_groups("memory", root):
        found += _left_by(folder)
    return min(found, default=None)


def _left_by(group: Path) -> list[int]:
    """What one control group, of version 2 or 1, leaves; nothing where it has no limit."""
    limit = text_of(group / "memory.max") or text_of(group / "memory.limit_in_bytes")
    used = text_of(group / "memory.current") or text_of(group / "memory.usage_in_bytes")
    # Pages of files that nobody has used for a while are given back before memory runs out.
    unused = re.search(r"^(?:total_)?inactive_file (\d+)", text_of(group / "memory.stat"), re.MULTILINE)
    if not (limit.isdigit() and used.isdigit()):
        return []
    return [max(int(limit) - int(used) + (0 if unused is None else int(unused[1])), 0)]
