import os
from pathlib import Path

import pytest
import torch

from otadet.engine import cores
from otadet.engine.cores import limit_threads, too_many_workers, usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A /sys and a /proc with `files`, and a process that may run on the processors `allowed`."""

    def build(allowed: set[int], files: dict[str, str]) -> Path:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed, raising=False)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return build


def siblings(*pairs: tuple[int, int]) -> dict[str, str]:
    return {
        f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list": f"{pair[0]},{pair[1]}\n"
        for pair in pairs
        for number in pair
    }


def test_the_affinity_mask_counts_not_the_machine(machine):
    assert usable_cores(machine({2, 5, 7}, {})) == 3


def test_two_threads_of_a_core_are_one(machine):
    pairs = siblings((0, 4), (1, 5), (2, 6), (3, 7))
    assert usable_cores(machine(set(range(8)), pairs)) == 4
    assert usable_cores(machine({0, 4, 5}, pairs)) == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "rubbish\n"}, 8),
    ],
)
def test_a_container_pays_for_so_many(machine, files, expected):
    assert usable_cores(machine(set(range(8)), files)) == expected


def test_the_processes_of_a_machine_share_its_cores_and_the_user_has_the_last_word(monkeypatch):
    threads, chosen = 8, []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(cores, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for processes in (1, 2, 4, 12):
        limit_threads(processes)
    assert chosen == [6, 3, 1, 1]
    threads = 4
    limit_threads()
    assert chosen.pop() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    limit_threads()
    assert chosen == [6, 3, 1, 1]


def test_more_loader_processes_than_cores_can_use_are_named(monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    assert too_many_workers(8) is too_many_workers(4, 2) is too_many_workers(0, 8) is None
    assert too_many_workers(9).startswith("workers 9: more loader processes than 4 cores can use")
    assert too_many_workers(9).endswith("try workers 4")
    assert too_many_workers(5, 2).endswith("try workers 2")
    assert too_many_workers(4, 8).startswith("workers 4 for each of 8 processes: more")
    assert too_many_workers(4, 8).endswith("try workers 1")


def test_this_machine_has_cores():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
