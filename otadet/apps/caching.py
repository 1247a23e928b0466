"""The cache of a training's decoded images, its size told and checked before it fills."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from otadet.data.cache.disk import DiskCache, entries, make_room
from otadet.data.cache.memory import Block, MemoryCache
from otadet.data.cache.room import GB, Plan, decoded_bytes, free_memory, in_bytes
from otadet.data.dataset import DetectionDataset
from otadet.data.image_files import ImageFiles
from otadet.distributed import broadcast_object, gather_objects
from otadet.errors import UserError, reason_of
from otadet.exp.run import Run

CACHE_FOLDER = Path("datasets/cache")
_SHARE = 0.8
"""Of what is free that a cache takes, unless it is told how much."""


def with_cache(run: Run, dataset: DetectionDataset) -> DetectionDataset:
    """The data set with the cache that `run.cache` asks for. Every process of a training calls this.

    What does not fit is decoded each time, as is said in the log. Raises `UserError` for a folder that cannot be used.
    """
    if run.cache == "none":
        return dataset
    build = _memory_cache if run.cache == "memory" else _disk_cache
    plan, cache, where = build(run, dataset.images)
    (logger.info if plan.kept.all() else logger.warning)(f"cache: {plan}; {where}")
    return dataset.cached(cache)


def check_cache(run: Run) -> None:
    """Raise `UserError` where the folder of a cache on disk cannot be used; before a run takes another one's place."""
    if run.cache == "disk":
        _open_folder(run)


def _open_folder(run: Run) -> tuple[Path, int]:
    """The folder of a cache on disk, made where it is missing, and the bytes that are free there."""
    folder = CACHE_FOLDER if run.cache_folder is None else Path(run.cache_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"{folder}: cannot hold the cache ({reason_of(error)}); set run.cache_folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: the cache cannot write there; set run.cache_folder")
    return folder, free


def memory_to_be_cached(run: Run, dataset: DetectionDataset) -> int:
    """Bytes that `with_cache` is going to take of this machine's memory, once for all processes."""
    if run.cache != "memory":
        return 0
    limits = [int(decoded_bytes(dataset.images).sum())]
    limits += [] if run.cache_gb is None else [int(GB * run.cache_gb)]
    limits += [] if (free := free_memory()) is None else [int(_SHARE * free)]
    return min(limits)


@dataclass(frozen=True)
class _Offer:
    """What a process has for the others of its machine."""

    machine: str
    path: str
    free: int | None


def _memory_cache(run: Run, images: ImageFiles) -> tuple[Plan, MemoryCache, str]:
    block = Block(MemoryCache.length(Plan.of(images, 0)))
    mine = _Offer(_machine(), block.path, free_memory())
    offers: list[_Offer] = broadcast_object(gather_objects(mine))
    # The same one in all processes of a machine, where they can open each other's files.
    offer = next((each for each in offers if each.machine == mine.machine and _can_open(each.path)), mine)
    limits = [] if run.cache_gb is None else [int(GB * run.cache_gb)]
    limits += [] if offer.free is None else [int(_SHARE * offer.free)]
    if not limits:
        raise UserError("run.cache memory: this system does not say how much memory is free; set run.cache_gb")
    plan = Plan.of(images, min(limits))
    cache = MemoryCache(images, plan, offer.path, block if offer == mine else None)
    free = "" if offer.free is None else f"; {in_bytes(offer.free)} of memory are free"
    return plan, cache, f"in memory, one copy for all processes{free}"


def _disk_cache(run: Run, images: ImageFiles) -> tuple[Plan, DiskCache, str]:
    folder, free = _open_folder(run)
    held = sum(entry.bytes for entry in entries(folder))
    limit = held + int(_SHARE * free)
    if run.cache_gb is not None:
        limit = min(limit, int(GB * run.cache_gb))
    plan = Plan.of(images, make_room(images, folder, limit))
    return (
        plan,
        DiskCache(images, plan, folder),
        f"in {folder}, which has {in_bytes(held)}; {in_bytes(free)} are free",
    )


def _machine() -> str:
    """What processes that can open each other's files have in common: the machine, and its container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _can_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK)
