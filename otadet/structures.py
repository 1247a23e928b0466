"""The dataclasses that everything speaks.

Shape letters, used in every docstring, each with one meaning:

    N  images of a batch                           K  candidates per box
    A  anchors over all levels, level-major        P  pairs of a box and an anchor
    L  levels of the feature pyramid               U  used anchors: those in some pair, per image
    G  ground-truth boxes of an image              D  detections of an image
    C  classes                                     I  ignored regions of an image
    M  objects of a batch or a data set            R  rows of samples, each fitted by itself
    S  images of a data set                        F  classes of a file
    J  amounts that a loss is divided by

`G` comes first in every matrix of pairs. Boxes are xyxy in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BACKGROUND, IGNORED = -1, -2
"""Values of `Assignment.gt_index` in place of an object's row. The losses leave out what is ignored."""


@dataclass(frozen=True)
class Anchors:
    """One grid, shared by the images of a batch, level-major and row-major inside a level."""

    points: Tensor
    """(A, 2) x, y in pixels."""
    boxes: Tensor
    """(A, 4) xyxy: the anchor boxes (FCOS-style heads ignore them)."""
    strides: Tensor
    """(A,) stride of the anchor's level: the pixels between neighbouring points, unless `spacing` has others."""
    level_sizes: tuple[tuple[int, int], ...]
    """(height, width) of each level, in points; their products add up to A / `per_location`."""
    per_location: int = 1
    """Anchors of different shapes that share a point; they follow each other."""
    spacing: tuple[tuple[int, int], ...] | None = None
    """Pixels between the points of each level, (down, across). None: its stride."""

    @property
    def level_counts(self) -> list[int]:
        """Anchors of each level; they add up to A."""
        return [height * width * self.per_location for height, width in self.level_sizes]


@dataclass(frozen=True)
class Predictions:
    """What the network says of every anchor of every image."""

    logits: Tensor
    """(N, A, C) class logits."""
    boxes: Tensor
    """(N, A, 4) decoded, xyxy pixels."""
    quality: Tensor | None = None
    """(N, A) IoU or centre-ness logit."""


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one image; G may be 0."""

    boxes: Tensor
    """(G, 4) xyxy pixels."""
    labels: Tensor
    """(G,) int64 in [0, C)."""
    ignored: Tensor | None = None
    """(I, 4) xyxy pixels: regions that are not annotated one by one, such as COCO's crowds. An anchor whose point lies
    in one is `IGNORED` unless an object gets it. None: no region."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> GroundTruth:
        """The same objects on a device."""
        ignored = None if self.ignored is None else self.ignored.to(device, non_blocking=non_blocking)
        return GroundTruth(
            self.boxes.to(device, non_blocking=non_blocking), self.labels.to(device, non_blocking=non_blocking), ignored
        )


@dataclass(frozen=True)
class Assignment:
    """Which object, if any, each anchor answers for."""

    gt_index: Tensor
    """(N, A) int64: row of that image's `GroundTruth`, or `BACKGROUND`, or `IGNORED`."""
    ambiguous: Tensor
    """(N, A) bool: the paper's N_amb. OTA: the largest share of a candidate anchor is below 0.9; any other rule: the
    anchor qualified for two or more boxes before the rule's tie-break."""
    score: Tensor | None = None
    """(N, A) in 0-1: soft target of the assigned class. None: 1."""
    weight: Tensor | None = None
    """(N, A) at least 0: weight of the anchor in the losses. None: 1."""


@dataclass(frozen=True)
class Detections:
    """The result for one image, best score first."""

    boxes: Tensor
    """(D, 4) xyxy pixels."""
    scores: Tensor
    """(D,) in 0-1."""
    labels: Tensor
    """(D,) int64 in [0, C)."""
    vocabulary: tuple[str, ...] = ()
    """C names, one per label; empty where nobody has said what the labels mean."""

    @property
    def class_names(self) -> list[str]:
        """D names, one per detection. Raises `ValueError` without a vocabulary."""
        if len(self) and not self.vocabulary:
            raise ValueError("these detections have no vocabulary, the names of the labels")
        return [self.vocabulary[label] for label in self.labels.tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, keep: Tensor | slice) -> Detections:
        """The detections that a mask, an index tensor or a slice selects."""
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """Those of several, at least one, in their order."""
        boxes, scores, labels = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels")
        )
        return cls(boxes, scores, labels, parts[0].vocabulary)

    def to(self, device: torch.device | str) -> Detections:
        """The same detections on a device."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device), labels=self.labels.to(device))
