"""What draws numbers inside leaves the global generators as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from otadet.generators import kept_generators


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_the_same_numbers_come_afterwards() -> None:
    with kept_generators(torch.device("cpu")):
        first = drawn()
    assert drawn() == first


@kept_generators()
def fail() -> None:
    drawn()
    raise ZeroDivisionError


def test_the_same_numbers_come_after_an_error() -> None:
    with kept_generators():
        first = drawn()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert drawn() == first
