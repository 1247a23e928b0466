"""Random crops that keep enough of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from otadet.data.sample import Sample
from otadet.data.transforms.geometry import SHARE, Color, Letterbox, padding_of
from otadet.data.transforms.objects import Hidden, Objects, clip_boxes, sides
from otadet.data.transforms.ranges import check_range
from otadet.data.transforms.same_size import SameSize
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part

_SIDE = Limits(0, 1, open_low=True)


@dataclass(frozen=True)
class RandomIoUCrop(SameSize, Part):
    """A crop that has at least a drawn IoU with some box (SSD), scaled to fit into the image's size and padded to it.

    Unlike in SSD the crop keeps its aspect ratio, and a box stays by `min_visible` in place of its centre. An image
    without boxes, and one where no crop is found, stays as it is. Crops enlarge: give the training a size at which the
    smallest of them still show something.
    """

    overlaps: tuple[Annotated[float, SHARE], ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    """The least IoU (0-1) is one of these; at 1 the image stays as it is."""
    side: tuple[Annotated[float, _SIDE], Annotated[float, _SIDE]] = (0.3, 1.0)
    """(low, high) of the crop's sides, as shares (0-1) of the image's."""
    aspect: Annotated[float, Limits(1, 100)] = 2.0
    """The longer side of a crop is at most this many times the shorter."""
    trials: Annotated[int, Limits(1, 1000)] = 40
    """Crops that are drawn until one is right."""
    p: Annotated[float, SHARE] = 1.0
    """Probability."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box goes where less than this share (0-1) of its area is left in the picture."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def check(self) -> None:
        check_range("side", self.side)
        if not self.overlaps:
            raise UserError("overlaps (): needs at least one, such as 0.5")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p or not len(sample.boxes):
            return sample
        overlap = float(rng.choice(self.overlaps))
        crop = None if overlap == 1 else self._crop(sample, overlap, rng)
        if crop is None:
            return sample
        height, width = sample.image.shape[:2]
        x1, y1, x2, y2 = crop
        objects = Objects.of(sample).within(crop, self.min_visible, self.hidden).shifted(-x1, -y1)
        return Letterbox((height, width), padding_of(self))(objects.put(sample, sample.image[y1:y2, x1:x2]), rng)

    def _crop(self, sample: Sample, overlap: float, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
        """xyxy of the first crop that is right, in whole pixels; None where none is."""
        whole = np.array((sample.image.shape[1], sample.image.shape[0]))
        size = np.maximum((whole * rng.uniform(*self.side, size=(self.trials, 2))).round(), 1)
        start = ((whole - size) * rng.random((self.trials, 2))).round()
        crops = np.concatenate((start, start + size), axis=1).astype(int)
        is_right = size.max(axis=1) <= self.aspect * size.min(axis=1)
        boxes, area = sample.boxes, sides(sample.boxes).prod(axis=1)
        for crop in crops[is_right]:
            x1, y1, x2, y2 = crop.tolist()
            common = sides(clip_boxes(boxes, (x1, y1, x2, y2))).prod(axis=1)
            iou = common / (area + (x2 - x1) * (y2 - y1) - common)
            if iou.max() >= overlap and (common >= max(self.min_visible, 1e-6) * area).any():
                return x1, y1, x2, y2
        return None
