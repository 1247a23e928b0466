"""What the transforms share that bring one other sample into a picture, which keeps its size."""

from __future__ import annotations

from otadet.data.transforms.ranges import Range, check_range
from otadet.data.transforms.same_size import SameSize
from otadet.part import Part


class WithAnother(SameSize, Part):
    """A transform that scales one other sample by a factor drawn from its field `scale`."""

    scale: Range

    def check(self) -> None:
        check_range("scale", self.scale)

    @property
    def others(self) -> int:
        """How many other samples it needs."""
        return 1

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that another sample is brought to at the most, given the size that it has alone."""
        return size_within(height, width, height, width, scale=self.scale[1])


def size_within(own_height: int, own_width: int, height: int, width: int, *, scale: float) -> tuple[int, int]:
    """(height, width) of an image of that own size at the largest that fits into `height` x `width`, times `scale`."""
    factor = scale * min(height / own_height, width / own_width)
    return max(1, round(own_height * factor)), max(1, round(own_width * factor))
