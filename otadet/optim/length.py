"""The length of a training, and places in it: in iterations, in epochs, or as a share of the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from otadet.limits import Limits
from otadet.part import Part


@dataclass(frozen=True)
class Iterations(Part):
    """A length in iterations, each of one batch."""

    EXAMPLE: ClassVar[str] = "9000iterations"

    count: Annotated[int, Limits(0, 10**12, open_low=True)]
    """A whole number above 0."""

    @classmethod
    def from_text(cls, text: str) -> Iterations:
        """`"9000iterations"` -> `Iterations(9000)`; raises `ValueError` for a text without its unit."""
        return cls(int(_without_unit(text, "iteration")))

    def iterations(self, images: int, batch_size: int) -> int:
        """The length itself, whatever the data set."""
        return self.count

    def __str__(self) -> str:
        return f"{self.count}iterations"


@dataclass(frozen=True)
class Epochs(Part):
    """A length in epochs: how often each image is shown. It need not be a whole number."""

    EXAMPLE: ClassVar[str] = "12epochs"

    count: Annotated[float, Limits(0, 10**6, open_low=True)]
    """Above 0."""

    @classmethod
    def from_text(cls, text: str) -> Epochs:
        """`"2.5epochs"` -> `Epochs(2.5)`; raises `ValueError` for a text without its unit."""
        number = float(_without_unit(text, "epoch"))
        return cls(int(number) if number.is_integer() else number)

    def iterations(self, images: int, batch_size: int) -> int:
        """Whole iterations, at least 1, for a data set of `images` images in batches of `batch_size`."""
        return iterations_for(self.count, images, batch_size)

    def __str__(self) -> str:
        return f"{self.count:g}epochs"


@dataclass(frozen=True)
class Training:
    """What places in a training are worked out from."""

    images: int
    """Of the data set, that is of one epoch."""
    batch_size: int
    """Images of one iteration, over all devices."""
    iterations: int
    """The whole length."""

    def place(self, where: float | Epochs) -> int:
        """The iteration of a place: of epochs, of a share of the training (below 1), or of iterations (from 1 on)."""
        if isinstance(where, Epochs):
            return where.iterations(self.images, self.batch_size)
        if 0 < where < 1:
            return max(1, round(where * self.iterations))
        return int(where)


def iterations_for(epochs: float, dataset_size: int, batch_size: int) -> int:
    """Whole iterations, at least 1, that show `epochs` times `dataset_size` images in batches of `batch_size`."""
    return max(1, round(epochs * dataset_size / batch_size))


def _without_unit(text: str, unit: str) -> str:
    found = re.fullmatch(rf"(.*?)\s*{unit}s?", text.strip(), re.IGNORECASE | re.DOTALL)
    if found is None:
        raise ValueError(text)
    return found[1]
