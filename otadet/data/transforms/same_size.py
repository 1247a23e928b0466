"""What the transforms share whose result is as large as the image."""

from __future__ import annotations


class SameSize:
    """A transform that says so, by which the size of a batch is known before its images are read."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result: that of the image."""
        return height, width
