"""What Linux says of itself in files below /proc and /sys, and nothing on other systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def text_of(path: Path) -> str:
    """What a file of the system says, stripped; "" where there is no such file."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """The folders of this process's control groups, of version 2 or 1, and of all above them.

    controller: "cpu" or "memory". root: where /proc and /sys are looked for.
    """
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        group = root / "sys/fs/cgroup" / (controller if controllers else "") / path.lstrip("/")
        # A limit holds for all groups below; in a container the path may name a group that is not visible there.
        for folder in (group, *group.parents):
            yield folder
            if folder == root / "sys/fs/cgroup":
                break
