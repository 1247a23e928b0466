"""Transforms of people's own: what is wrong with their results is said, and never trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from otadet.data.loader import eval_loader, train_loader
from otadet.data.transforms import Compose, RandomFlip
from otadet.errors import UserError
from tests.helpers.noise_images import Noise

SHAPES = {"pad_value": (0, 0, 0), "size_divisor": 32}


def loaders(transform):
    yield train_loader(Noise(3), Compose((RandomFlip(), transform)), batch_size=2, iterations=1, **SHAPES)
    yield eval_loader(Noise(3), transform, batch_size=2, **SHAPES)


def changing(**changes):
    def change(sample, rng):
        return replace(sample, **{name: make(sample) for name, make in changes.items()})

    return change


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (changing(image=lambda one: one.image / 255), r"change, at \S+: returned an image float64 of shape"),
        (changing(image=lambda one: one.image.astype(np.uint16)), "an image uint16"),
        (changing(image=lambda one: one.image.transpose(2, 0, 1)), r"an image uint8 of shape \(3, "),
        (changing(image=lambda one: one.image[..., 0]), "an image uint8"),
        (changing(image=lambda one: torch.from_numpy(one.image)), r"an image torch\.uint8"),
        (changing(image=lambda one: None), "an image NoneType"),
        (changing(image=lambda one: one.image[:0]), "without pixels"),
        (changing(boxes=lambda one: one.boxes * np.nan), "boxes with corners nan"),
        (changing(boxes=lambda one: one.boxes[:, [2, 1, 0, 3]]), "needed is x1 <= x2"),
        (changing(boxes=lambda one: one.boxes.ravel()), "boxes of shape"),
        (changing(boxes=lambda one: ["left"]), "boxes that are no numbers"),
        (changing(ignored=lambda one: None), r"ignored regions of shape \(\)"),
        (changing(labels=lambda one: one.labels + 0.5), r"returned labels .*; needed are whole numbers"),
        (changing(labels=lambda one: one.labels - 100), "needed are whole numbers from 0"),
        (changing(labels=lambda one: one.labels[:0]), "boxes, but 0 labels"),
        (lambda sample, rng: None, "<lambda>: returned a NoneType"),
    ],
)
def test_a_wrong_result_names_the_transform_and_the_image(transform, message):
    for loader in loaders(transform):
        with pytest.raises(UserError, match=message):
            list(loader)


def test_other_types_of_numbers_are_converted():
    transform = changing(
        boxes=lambda one: one.boxes.astype(np.float64),
        labels=lambda one: one.labels.astype(np.int32).tolist(),
        ignored=lambda one: np.zeros(0),
        image=lambda one: one.image[:, ::-1],
    )
    for loader in loaders(transform):
        for truth in next(iter(loader)).truths:
            assert (truth.boxes.dtype, truth.labels.dtype) == (torch.float32, torch.int64)
