"""Memory that is used again when nobody has it any more, and never before."""

from __future__ import annotations

import pickle
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from otadet.data.batch_memory import BatchMemory
from otadet.data.loader import eval_loader
from otadet.data.transforms import Letterbox
from tests.helpers.noise_images import Noise, stream

HOLDERS = {
    "the array": lambda array: array,
    "a view": lambda array: array[0, 1:],
    "a buffer": memoryview,
    "a tensor": torch.from_numpy,
    "a view of a tensor": lambda array: torch.from_numpy(array)[1, :2],
    "an array of a tensor": lambda array: torch.from_numpy(array)[1].numpy(),
    "a function's gradient": lambda array: torch.from_numpy(array).float().requires_grad_() * torch.from_numpy(array),
}


def place_of(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_block_is_lent_again_when_nobody_has_it(hold):
    memory = BatchMemory()
    held = hold(memory.take(2, 3, 4))
    first = memory.take(2, 3, 4)
    place = place_of(first)
    del first
    # The held block is not the one that is lent.
    assert [place_of(memory.take(2, 3, 4)) for _ in range(5)] == [place] * 5
    other = memory.take(2, 3, 4)
    del held
    assert place_of(memory.take(2, 3, 4)) != place_of(other)


def test_arrays_of_any_size_overlap_with_nothing_that_is_in_use():
    memory, rng = BatchMemory(), np.random.default_rng(0)
    held: list[tuple[np.ndarray, int]] = []
    for number in range(300):
        array = memory.take(*(int(side) for side in rng.integers(1, 9, size=3)))
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous
        array[...] = number % 256
        held.append((array, number % 256))
        del array
        held = [held[place] for place in rng.permutation(len(held))[: rng.integers(5)]]
        assert all((kept == value).all() for kept, value in held)
        assert len(memory._blocks) <= 2


def test_a_copy_for_another_process_has_no_blocks():
    memory = BatchMemory()
    memory.take(1000)
    assert len(pickle.dumps(memory)) < 200
    assert pickle.loads(pickle.dumps(memory)).take(3, 4).shape == (3, 4)


def test_batches_that_are_kept_stay_as_they_are():
    kept, copies = [], []
    for batch in stream(iterations=9):
        kept.append(batch.images)
        copies.append(batch.images.clone())
    assert all(torch.equal(images, copy) for images, copy in zip(kept, copies, strict=True))


def test_a_loader_writes_into_the_memory_of_batches_that_are_gone():
    loader = eval_loader(Noise(12), Letterbox((32, 32), (0, 0, 0)), batch_size=2, pad_value=(0, 0, 0), size_divisor=32)
    places = {batch.images.data_ptr() for batch in loader}
    assert len(places) == 2


PICTURES = """
import resource
import numpy as np
from otadet.data.batch_memory import BatchMemory

BatchMemory().take(10)
for number in range(30):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pictures = [np.ones(size * 2**20, np.uint8) for size in (2, 6, 8)]
    del pictures
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or sys.maxsize < 2**32, reason="of glibc on 64-bit systems")
def test_memory_of_pictures_stays_with_the_process():
    result = subprocess.run([sys.executable, "-c", PICTURES], capture_output=True, text=True, check=True)
    # Each picture alone has 512 pages at the least, huge ones apart.
    assert int(result.stdout) < 100
