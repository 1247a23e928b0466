"""A list of images of many sizes is not held in memory as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from otadet.data.images import UPRIGHT
from otadet.data.sample import Sample
from otadet.inference import predictor
from otadet.structures import Detections


class Finder:
    """Finds nothing, in images as they are, and notes what it was called with."""

    pad_value, size_divisor, device, class_names = (0, 0, 0), 32, torch.device("cpu"), ()

    def __init__(self) -> None:
        self.computed: list[tuple[int, int]] = []

    def transform(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample

    def __call__(self, images: Tensor, sizes: list[tuple[int, int]]) -> list[Detections]:
        assert sizes == [tuple(images.shape[2:])] * len(images)
        self.computed.append((len(images), images.shape[2]))
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)) for _ in images]


def test_inputs_that_wait_for_others_of_their_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "HELD_PIXELS", 3 * 64 * 64)
    images = [np.zeros((side, side, 3), np.uint8) for side in (32, 64, 32, 64, 64, 32)]
    finder = Finder()
    found = predictor.ImagePredictor(finder, UPRIGHT, 16)(images)
    assert len(found) == 6
    assert finder.computed == [(3, 64), (3, 32)]
