"""What rules of label assignment did with one image, in numpy, for pictures and counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The anchor points of all levels."""

    points: np.ndarray
    """(A, 2) x, y in pixels of the image."""
    strides: np.ndarray
    """(A,) pixels."""
    level_sizes: tuple[tuple[int, int], ...]
    """(height, width) of each level."""
    per_location: int = 1
    """Anchors that share a point."""

    @property
    def level(self) -> np.ndarray:
        """(A,) 0 is the finest."""
        counts = [height * width * self.per_location for height, width in self.level_sizes]
        return np.repeat(np.arange(len(self.level_sizes)), counts)

    def name(self, level: int) -> str:
        """P3 is the level of stride 8."""
        return f"P{round(np.log2(self.strides[self.level == level][0]))}"


@dataclass(frozen=True)
class RuleResult:
    """What one rule did with an image."""

    rule: str
    gt_index: np.ndarray
    """(A,) row of the boxes; below 0 is no object."""
    ambiguous: np.ndarray
    """(A,) bool."""
    mass: np.ndarray | None = None
    """(G, A) transported from each box to each anchor: OTA's plan."""

    def positives(self, num_boxes: int) -> np.ndarray:
        """(G,) anchors of each box."""
        return np.bincount(self.gt_index[self.gt_index >= 0], minlength=num_boxes)

    def best_level(self, grid: Grid) -> int:
        """The level with the most positives; of equals the finest."""
        return int(np.bincount(grid.level[self.gt_index >= 0], minlength=len(grid.level_sizes)).argmax())

    @property
    def supply(self) -> np.ndarray | None:
        """(G,) the labels k that each box hands out."""
        return None if self.mass is None else self.mass.sum(1).round().astype(int)


@dataclass(frozen=True)
class AssignedImage:
    """One image and what the rules did with it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB, the network's input."""
    boxes: np.ndarray
    """(G, 4) xyxy in pixels of `image`."""
    grid: Grid
    results: list[RuleResult]
