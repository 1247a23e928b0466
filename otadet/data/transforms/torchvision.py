"""torchvision's transforms in the place of one's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otadet.data.sample import Sample
from otadet.data.transforms.objects import Objects
from otadet.data.transforms.result import name_of
from otadet.errors import UserError
from otadet.generators import kept_generators

_IGNORED = -1
"""Label of the ignored regions, which travel among the boxes."""


@dataclass(frozen=True)
class TorchvisionTransform:
    """A transform of `torchvision.transforms.v2`, such as `TorchvisionTransform(v2.RandomPerspective())`.

    It is called with a dictionary of an image (a `tv_tensors.Image`, uint8), `boxes` (`BoundingBoxes`, xyxy; ignored
    regions are among them, with the label -1) and `labels`, and must return one with the same keys. What it draws from
    the global generators of torch, numpy and Python is seeded by the position in the stream, and they are left as they
    were: a training that goes on draws the same again.

    Boxes come back clipped, degenerate ones dropped. How much of a box is left to see is torchvision's to say, which
    keeps every box; `v2.SanitizeBoundingBoxes(min_size=...)` may follow in a `v2.Compose`. What torchvision does to the
    boxes must be done to the labels, too. It is no part that a checkpoint can hold: to go on with a training needs the
    experiment's file, by -f.
    """

    transform: Callable[[Any], Any]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        given = _as_tensors(sample)
        with _seeded(int(rng.integers(2**32))):
            returned = self._returned(given, sample)
        if not isinstance(returned, dict) or not returned.keys() >= given.keys():
            raise UserError(
                f"TorchvisionTransform: {name_of(self.transform)} must return a dictionary with {', '.join(given)}"
            )
        image, boxes, labels = (returned[name] for name in given)
        self._check(image, boxes, labels)
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        corners = boxes.as_subclass(Tensor).to(torch.float32).numpy().reshape(-1, 4)
        labels = labels.to(torch.int64).numpy()
        regions = labels == _IGNORED
        objects = Objects(corners[~regions], labels[~regions], corners[regions])
        return objects.within((0, 0, pixels.shape[1], pixels.shape[0])).put(sample, pixels)

    def _returned(self, given: dict[str, Tensor], sample: Sample) -> Any:
        """What the transform makes of it. Raises `UserError` where it fails, as some do on pictures of a few pixels."""
        try:
            return self.transform(given)
        except UserError:
            raise
        except Exception as error:
            height, width = sample.image.shape[:2]
            raise UserError(
                f"TorchvisionTransform: {name_of(self.transform)} fails at {sample.file_name}, {width} x {height} "
                f"pixels there: {type(error).__name__}: {error}"
            ) from error

    def _check(self, image: Any, boxes: Any, labels: Any) -> None:
        """Raise `UserError` for what no sample can be made of."""
        name = name_of(self.transform)
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            found = f"{tuple(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
            raise UserError(
                f"TorchvisionTransform: {name} returned an image {found}; otadet needs (3, H, W) torch.uint8, and "
                "normalises by itself: leave out ToDtype, Normalize and the like"
            )
        for what, values in (("boxes", boxes), ("labels", labels)):
            if not isinstance(values, Tensor):
                raise UserError(f"TorchvisionTransform: {name} returned {what} as {type(values).__name__}, no tensor")
        if len(boxes) != len(labels):
            raise UserError(
                f"TorchvisionTransform: {name} returned {len(boxes)} boxes and {len(labels)} labels; let it change both"
            )
        form = getattr(getattr(boxes, "format", None), "name", None)
        if form != "XYXY":
            raise UserError(f"TorchvisionTransform: {name} returned boxes as {form}; otadet needs XYXY")


def _as_tensors(sample: Sample) -> dict[str, Tensor]:
    """Copies, since some of torchvision's transforms change what they are given."""
    try:
        from torchvision import tv_tensors
    except ImportError as error:
        raise UserError("TorchvisionTransform: needs torchvision 0.16 or newer; install it") from error
    corners = np.concatenate((sample.boxes, sample.ignored))
    labels = np.concatenate((sample.labels, np.full(len(sample.ignored), _IGNORED)))
    size = sample.image.shape[:2]
    return {
        "image": tv_tensors.Image(torch.from_numpy(sample.image.transpose(2, 0, 1).copy())),
        "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(corners), format="XYXY", canvas_size=size),
        "labels": torch.from_numpy(labels),
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators, those of the CPU, begin at `seed`, and are afterwards as they were before."""
    with kept_generators():
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
