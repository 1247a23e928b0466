"""Caches of decoded images: the same batches as without, one copy for all processes, no damaged entry believed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from loguru import logger

from otadet.apps import caching
from otadet.apps.caching import with_cache
from otadet.data.cache.disk import DiskCache, entries, entry_path, make_room
from otadet.data.cache.memory import Block, MemoryCache
from otadet.data.cache.room import Plan, free_memory
from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco
from otadet.data.image_files import ImageFiles
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.loader import train_loader
from otadet.data.transforms import Compose, RandomFlip, ResizeShortestEdge
from otadet.errors import UserError
from otadet.exp.run import Run

RESIZE = ResizeShortestEdge((16, 24), 40)
ALL = 10**9


@pytest.fixture
def dataset(coco_folder) -> DetectionDataset:
    images = [{"id": 10 * n + 3, "file_name": f"{n}.png", "height": 61 + n, "width": 90} for n in range(5)]
    json_path, folder = coco_folder(images=images)
    rng = np.random.default_rng(1)
    for image in images:
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
        cv2.imwrite(str(folder / image["file_name"]), pixels)
    return DetectionDataset(read_coco(json_path, folder)).reduced_for(RESIZE)


def batches(dataset: DetectionDataset, workers: int = 0, start: int = 0) -> list[tuple[torch.Tensor, list[int]]]:
    loader = train_loader(
        dataset,
        Compose((RESIZE, RandomFlip(0.5))),
        batch_size=2,
        iterations=8,
        start_iteration=start,
        workers=workers,
        pad_value=(1, 2, 3),
        size_divisor=8,
    )
    return [(batch.images, batch.image_ids) for batch in loader]


def assert_same(found: list[tuple[torch.Tensor, list[int]]], expected: list[tuple[torch.Tensor, list[int]]]) -> None:
    for (images, ids), (others, other_ids) in zip(found, expected, strict=True):
        assert ids == other_ids
        assert torch.equal(images, others)


def overwrite(path: Path) -> None:
    """Nonsense in place of a file, which looks as old and as long."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("limit", [None, 5e-6])
def test_batches_are_those_without_a_cache(dataset, tmp_path, kind, workers, limit):
    folder = str(tmp_path / "kept") if kind == "disk" else None
    cached = with_cache(Run(cache=kind, cache_folder=folder, cache_gb=limit), dataset)
    expected = batches(dataset)
    assert set(dataset.images.reductions.tolist()) == {2}
    assert_same(batches(cached, workers), expected)
    kept = [index for index in range(5) if cached.images.cache.get(index) is not None]
    assert kept == ([0, 1, 2, 3, 4] if limit is None else [0])
    if limit is None:
        for index in range(5):
            overwrite(dataset.path(index))
    assert_same(batches(cached, workers, start=3), expected[3:])


def test_memory_is_one_copy_for_all_who_have_its_path(dataset):
    cached = with_cache(Run(cache="memory"), dataset)
    other = pickle.loads(pickle.dumps(cached))
    image = other.images.read(3)
    np.testing.assert_array_equal(cached.images.cache.get(3), image)
    assert cached.images.cache.get(2) is None
    image[:] = 0
    assert cached.images.read(3).any(), "what is got is the caller's own"


def test_memory_goes_with_the_cache(dataset):
    block = Block(100)
    path = block.path
    assert os.path.exists(path)
    cache = MemoryCache(dataset.images, Plan.of(dataset.images, ALL), path)
    del block
    assert not os.path.exists(path)
    cache.put(0, dataset.images.read(0))
    assert cache.get(0) is None


def disk_cache(dataset: DetectionDataset, folder: Path, room: int = ALL) -> DiskCache:
    return DiskCache(dataset.images, Plan.of(dataset.images, room), folder)


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "flipped", "turned"])
def test_a_damaged_entry_is_written_anew(dataset, tmp_path, damage):
    cache, whole = disk_cache(dataset, tmp_path / "kept"), dataset.images.read(1)
    cache.put(1, whole)
    path = entry_path(dataset.images, 1, tmp_path / "kept")
    data = bytearray(path.read_bytes())
    flipped, turned = data.copy(), data[:8] + data[12:16] + data[8:12] + data[16:]
    flipped[len(data) // 2] ^= 1
    data = {"cut": data[:-1], "longer": data + b"a", "empty": b"", "flipped": flipped, "turned": turned}[damage]
    path.write_bytes(data)
    assert cache.get(1) is None
    np.testing.assert_array_equal(dataset.cached(cache).images.read(1), whole)
    np.testing.assert_array_equal(cache.get(1), whole)


def test_an_entry_is_of_one_file_as_it_is_and_of_one_way_to_decode_it(dataset, tmp_path):
    images = dataset.images
    path = entry_path(images, 0, tmp_path)
    assert entry_path(images, 0, tmp_path) == path
    others = [
        entry_path(images, 1, tmp_path),
        entry_path(images.reduced_for(lambda height, width: None), 0, tmp_path),
        entry_path(ImageFiles.whole(images.folder, images.names, images.sizes, ReadOptions(bits=12)), 0, tmp_path),
    ]
    cv2.imwrite(str(images.path(0)), np.zeros((61, 90, 3), np.uint8))
    assert len({path, *others, entry_path(images, 0, tmp_path)}) == 5
    images.path(0).unlink()
    assert entry_path(images, 0, tmp_path) is None


def test_the_folder_stays_below_its_limit(dataset, tmp_path):
    folder = tmp_path / "kept"
    first = disk_cache(dataset, folder)
    for index in range(5):
        first.put(index, dataset.images.read(index))
        os.utime(entry_path(dataset.images, index, folder), (index, index))
    held = sum(entry.bytes for entry in entries(folder))
    # Other files: the entries of the old ones are nobody's.
    for index in (0, 1, 2):
        cv2.imwrite(str(dataset.path(index)), np.zeros((61 + index, 90, 3), np.uint8))
    old = sum(entry.bytes for entry in entries(folder) if entry.changed < 3)
    assert make_room(dataset.images, folder, 10 * held) == 10 * held - old
    # Room for all of this data set and for one old entry at the most.
    assert make_room(dataset.images, folder, held + old // 3 + 100) >= held
    assert sorted(entry.changed for entry in entries(folder)) == [2, 3, 4]
    (folder / "aa").mkdir(exist_ok=True)
    (folder / "aa" / "notes.txt").write_text("mine")
    make_room(dataset.images, folder, 0)
    assert (folder / "aa" / "notes.txt").exists()
    assert {entry.changed for entry in entries(folder)} == {3, 4}


def test_a_full_disk_costs_nothing_but_the_cache(dataset, tmp_path):
    (tmp_path / "kept").write_text("a file where the folder should be")
    cache = disk_cache(dataset, tmp_path / "kept")
    image = dataset.images.read(0)
    cache.put(0, image)
    np.testing.assert_array_equal(dataset.cached(cache).images.read(0), image)


def test_an_unreadable_image_is_an_error_as_without(dataset):
    cached = with_cache(Run(cache="memory"), dataset)
    dataset.path(2).write_bytes(b"\x89PNG\r\n\x1a\n")
    for _ in range(2):
        with pytest.raises(UserError, match=r"2\.png: cannot be read"):
            cached.sample(2)


def said(run: Run, dataset: DetectionDataset) -> str:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    with_cache(run, dataset)
    logger.remove(sink)
    (line,) = lines
    return line.strip()


def test_the_size_is_said_before_it_fills(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "free_memory", lambda: 10**10)
    large = dataset.cached(None)
    large.images = ImageFiles.whole(tmp_path, dataset.images.names, np.full((5, 2), 10_000), DEFAULT)
    assert said(Run(cache="memory"), dataset).startswith("INFO cache: 5 images have 0 MB decoded; in memory, one copy")
    assert said(Run(cache="memory"), large) == (
        "INFO cache: 5 images have 1.50 GB decoded; in memory, one copy for all processes; 10.00 GB of memory are free"
    )
    assert said(Run(cache="memory", cache_gb=0.7), large) == (
        "WARNING cache: 5 images have 1.50 GB decoded, but there is room for 700 MB: 40 % of them are kept; "
        "in memory, one copy for all processes; 10.00 GB of memory are free"
    )
    monkeypatch.setattr(caching, "free_memory", lambda: 10**9)
    assert "there is room for 800 MB: 40 % of them" in said(Run(cache="memory"), large)
    assert f"in {tmp_path}, which has 0 MB" in said(Run(cache="disk", cache_folder=str(tmp_path)), dataset)
    monkeypatch.setattr(caching, "free_memory", lambda: None)
    with pytest.raises(UserError, match=r"does not say how much memory is free; set run\.cache_gb"):
        with_cache(Run(cache="memory"), dataset)


def test_a_folder_that_cannot_be_used_is_one_line(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: cannot hold the cache \(.*\); set run\.cache_folder"):
        with_cache(Run(cache="disk", cache_folder=str(tmp_path / "file")), dataset)


@pytest.mark.parametrize("fields", [{"cache_gb": 1.0}, {"cache_folder": "a"}, {"cache": "memory", "cache_folder": "a"}])
def test_settings_of_no_cache_are_errors(fields):
    with pytest.raises(UserError, match="cache"):
        Run(**fields)


def test_free_memory_is_what_the_control_groups_leave(tmp_path):
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert free_memory(tmp_path) is None
    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert free_memory(tmp_path) == 5000 * 1024
    write("proc/self/cgroup", "0::/a/b\n")
    write("sys/fs/cgroup/a/memory.max", "1000000\n")
    write("sys/fs/cgroup/a/memory.current", "700000\n")
    write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 200000\n")
    write("sys/fs/cgroup/a/b/memory.max", "max\n")
    assert free_memory(tmp_path) == 500_000
    write("proc/self/cgroup", "7:memory:/c\n")
    write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "400000\n")
    write("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "390000\n")
    assert free_memory(tmp_path) == 10_000
