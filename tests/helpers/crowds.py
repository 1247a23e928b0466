"""Random crowds, and the data set and detections that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.dataset import DetectionDataset
from otadet.data.image_names import ImageNames
from otadet.structures import Detections
from tests.helpers.slow_crowdhuman import Picture


def random_crowd(seed: int) -> list[Picture]:
    """Images with up to eight people, and up to twelve detections around and between them; any may be without.

    A third of the crowds has boxes of whole pixels on a coarse grid, where overlaps are equal and exactly a half, and
    scores of one digit, which are equal too.
    """
    rng = np.random.default_rng(seed)
    is_coarse = seed % 3 == 0

    def rounded(boxes: np.ndarray) -> list[tuple[float, ...]]:
        values = (boxes / 10).round() * 10 if is_coarse else boxes.round(3)
        return [tuple(box) for box in values.astype(np.float32).astype(float).tolist()]

    def some(most: int) -> np.ndarray:
        corners = rng.uniform(-20, 90, (rng.integers(0, most + 1) * (rng.random() < 0.85), 2))
        return np.concatenate((corners, corners + rng.uniform(10, 60, corners.shape)), axis=1)

    pictures = []
    for _ in range(rng.integers(1, 7)):
        people, regions = some(8), some(2)
        near = people[rng.integers(0, len(people), 8)] + rng.normal(0, 6, (8, 4)) if len(people) else people
        found = rounded(np.concatenate((near, some(4)))) if rng.random() < 0.85 else []
        scores = rng.random(len(found)).round(1 if is_coarse or seed % 3 == 1 else 6).tolist()
        there = [box for box in rounded(people) if visible(box)]
        scored = list(zip(found, scores, strict=True))
        pictures.append(Picture(100, 80, there, list(filter(visible, rounded(regions))), scored))
    return pictures


def visible(box: tuple[float, ...]) -> bool:
    """Whether something of the box lies in an image of 100 x 80 pixels."""
    return min(box[2], 100) > max(box[0], 0) and min(box[3], 80) > max(box[1], 0)


def as_dataset(pictures: list[Picture], folder: Path = Path()) -> tuple[DetectionDataset, dict[int, Detections]]:
    """The data set of the pictures, of one class and CrowdHuman's protocol, and what was found in it."""
    rows = [(row, box, ignored) for row, one in enumerate(pictures) for box, ignored in _truths(one)]
    ids = np.arange(len(pictures))[::-1] * 7 + 3
    annotations = Annotations(
        source=folder / "annotation.odgt",
        image_dir=folder,
        classes=SourceClasses((0,), ("person",), np.array([len(rows)]), np.zeros(1, bool)),
        image_ids=ids,
        file_names=ImageNames.of([f"{number}.png" for number in ids]),
        image_sizes=np.array([[one.height, one.width] for one in pictures], np.int64),
        image_rows=np.array([row for row, _, _ in rows], np.int64),
        class_rows=np.zeros(len(rows), np.int64),
        boxes=np.array([box for _, box, _ in rows], float).reshape(-1, 4),
        areas=np.full(len(rows), np.nan),
        ignored=np.array([ignored for _, _, ignored in rows], bool),
        protocol="crowdhuman",
    )
    detections = {
        int(number): Detections(
            torch.tensor([box for box, _ in one.found], dtype=torch.float64).reshape(-1, 4),
            torch.tensor([score for _, score in one.found], dtype=torch.float64),
            torch.zeros(len(one.found), dtype=torch.int64),
        )
        for number, one in zip(ids, pictures, strict=True)
        if one.found
    }
    return DetectionDataset(annotations, prescan=False), detections


def _truths(picture: Picture) -> list[tuple[tuple[float, ...], bool]]:
    return [(box, False) for box in picture.people] + [(box, True) for box in picture.regions]
