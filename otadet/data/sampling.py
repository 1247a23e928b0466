"""How often each image comes in training, where that is not once per epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np

from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part


class Sampling(Protocol):
    """What the loader needs to know of it."""

    def repeats(self, dataset: Any) -> np.ndarray:
        """(S,) float, at least 1: how often each image of the data set comes per epoch, on average."""
        ...


@dataclass(frozen=True)
class RepeatFactor(Part):
    """Images with rare classes come more often (LVIS, Gupta et al. 2019, section 3.2.3).

    1. A class c that is in the share f(c) of all images has the factor r(c) = max(1, sqrt(threshold / f(c))).
    2. An image comes r times per epoch, r being the largest factor of its classes, or 1 where it has none.
    3. The fraction of r is a probability: each epoch draws anew which images come once more.

    What is longer is the round through the data, not the training: "epochs" in its length and schedule, and between
    evaluations, count images up to the size of the data set, as they do without it.
    """

    threshold: Annotated[float, Limits(0, 1, open_low=True)] = 0.001
    """Share (0-1) of the images below which a class is rare."""

    def repeats(self, dataset: Any) -> np.ndarray:
        """(S,) float, at least 1: the factor r of each image.

        Raises `UserError` for a data set that does not know its `objects`.
        """
        if not hasattr(dataset, "objects"):
            raise UserError(
                f"sampling: {type(dataset).__name__} does not know which classes its images have; give it `objects()`, "
                "the image and the label of every box as two arrays, or set sampling none"
            )
        image_rows, labels = dataset.objects()
        return repeat_factors(image_rows, labels, len(dataset), self.threshold)


def repeat_factors(image_rows: np.ndarray, labels: np.ndarray, images: int, threshold: float) -> np.ndarray:
    """(S,) the factor of each image.

    Args:
        image_rows: (M,) the image of every box, in [0, S).
        labels: (M,) its label.
        images: S.
        threshold: share (0-1) of the images below which a class is rare.
    """
    factors = np.ones(images)
    if not len(labels):
        return factors
    # A class counts once per image, however many boxes of it there are.
    classes, rows = np.divmod(np.unique(labels.astype(np.int64) * images + image_rows), images)
    shares = np.bincount(classes) / images
    with np.errstate(divide="ignore"):
        of_class = np.maximum(1, np.sqrt(threshold / shares))
    np.maximum.at(factors, rows, of_class[classes])
    return factors
