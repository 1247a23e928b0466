"""A list of images of many sizes is not held in memory as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from otadet.data.images import UPRIGHT
from otadet.inference import predictor
from otadet.structures import Detections


def test_inputs_that_wait_for_others_of_their_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int]] = []

    def detect(images: Tensor, sizes: list[tuple[int, int]]) -> list[Detections]:
        assert sizes == [tuple(images.shape[2:])] * len(images)
        computed.append((len(images), images.shape[2]))
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)) for _ in images]

    monkeypatch.setattr(predictor, "HELD_PIXELS", 3 * 64 * 64)
    images = [np.zeros((side, side, 3), np.uint8) for side in (32, 64, 32, 64, 64, 32)]
    found = predictor.detect_in(images, UPRIGHT, lambda sample, rng: sample, (0, 0, 0), 32, detect, 16)
    assert len(found) == 6
    assert computed == [(3, 64), (3, 32)]
