"""How many threads compute: as many as there are cores for this process, and no more."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from otadet.system_files import control_groups, text_of


def limit_threads(processes: int = 1) -> None:
    """Let torch compute in this process's share of the cores; call it once, before anything is computed.

    processes: how many of this training there are on this machine. OMP_NUM_THREADS has the last word. Loader workers
    need no share: each is one thread that mostly waits for its turn. The number is never raised, as torch's own choice
    knows of cores that are one core to two threads where the system does not say so.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() // processes)))


def too_many_workers(workers: int, processes: int = 1) -> str | None:
    """A warning where the loader processes are more than twice the cores of this machine that they may run on.

    Up to that they may gain something, as they also wait for the disk. workers: of each process. processes: how many of
    this training there are on this machine.
    """
    cores = usable_cores()
    if workers * processes <= 2 * cores:
        return None
    each = f" for each of {processes} processes" if processes > 1 else ""
    return (
        f"workers {workers}{each}: more loader processes than {cores} cores can use; they cost memory and time, try "
        f"workers {max(1, cores // processes)}"
    )


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on: those of its affinity mask, but no more than its control group pays for.

    Two hardware threads of one core count as one: arithmetic gains nothing by the second. root: where /sys and /proc
    are looked for; without them (macOS, Windows) every logical processor counts.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_threads_of_its_core(root, number) for number in allowed}
    return max(1, int(min(len(cores), _quota(root))))


def _threads_of_its_core(root: Path, number: int) -> str:
    """The logical processors on the same core as processor `number`, as the kernel writes them ("0,4")."""
    text = text_of(root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
    return text or str(number)


def _quota(root: Path) -> float:
    """CPU seconds per second that the control groups (version 2 or 1) of this process allow it."""
    quota = float("inf")
    for folder in control_groups("cpu", root):
        quota = min(quota, _quota_of(folder))
    return quota


def _quota_of(group: Path) -> float:
    words = text_of(group / "cpu.max").split() or [
        text_of(group / "cpu.cfs_quota_us").strip(),
        text_of(group / "cpu.cfs_period_us").strip(),
    ]
    # Without a limit the first is "max", -1 or missing.
    return int(words[0]) / int(words[1]) if len(words) == 2 and all(map(str.isdigit, words)) else float("inf")
