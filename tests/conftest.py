"""What several test folders use."""

from __future__ import annotations

import os

import cv2
import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples in every run, without a data base of earlier ones; machines are too different for deadlines.
settings.register_profile(
    "otadet", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("otadet")

# Threads cost more than they bring to networks and pictures this small; so it is in processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
cv2.setNumThreads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_early_end():
    """Tools end their process at once, without a word: in the process of the tests that would look like a success."""
    end, tests = os._exit, os.getpid()

    def end_of_children(status: int) -> None:
        assert os.getpid() != tests, "os._exit in the process of the tests"
        end(status)

    os._exit = end_of_children
    yield
    os._exit = end


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
