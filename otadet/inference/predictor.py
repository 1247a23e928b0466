"""From images to their detections, in Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Generic, TypeVar, overload

import numpy as np
import torch
from PIL import Image

from otadet.data.batch import collate, padded_size
from otadet.data.images import UPRIGHT, ReadOptions, read_image
from otadet.data.sample import Sample, unlabelled
from otadet.errors import UserError
from otadet.inference.pipeline import Pipeline, PixelDetector, size_in_input, to_image
from otadet.structures import Detections

ImageLike = np.ndarray | str | PathLike[str] | Image.Image
"""An array (H, W, 3) uint8 RGB, an image file, or a PIL image."""
BATCH_SIZE = 16
"""Images that are computed at once."""
HELD_PIXELS = 2**26
"""Of inputs that wait for others of their size, 3 bytes each: beyond it the largest group is computed as it is."""

P = TypeVar("P", bound=PixelDetector)


class ImagePredictor(Generic[P]):
    """What finds objects in pixels, called with an image, or with many."""

    def __init__(self, pipeline: P, options: ReadOptions, batch_size: int) -> None:
        self.pipeline = pipeline
        self.options = options
        self.batch_size = _checked_batch_size(batch_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.pipeline.class_names

    # A text is a sequence of texts, too, but the first that fits is taken.
    @overload
    def __call__(self, images: ImageLike) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Detections]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Detections | list[Detections]:
        """Detect objects in an image, or in each of a list of them: files, arrays (H, W, 3) uint8 RGB and PIL images.

        The images of a list that have one size for the network are computed together, `batch_size` at a time, and read
        as they are needed.

        Returns boxes in pixels of the image, clipped to it, best score first, on the CPU; those of a file are pixels of
        the upright picture. Raises `UserError` for a file that cannot be read, `ValueError` for what is no image.
        """
        return _detect_in(images, self.options, self.pipeline, self.batch_size)


class Predictor(ImagePredictor[Pipeline]):
    """A detector that is called with an image, or with many.

    >>> predictor = load_predictor(load_exp("exps/quickstart.py"), "runs/quickstart/best.pth")
    >>> predictor("photo.jpg").class_names
    >>> for found in predictor(["a.jpg", "b.jpg"]):
    ...     print(found.boxes, found.scores, found.class_names)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        device: torch.device | str | None = None,
        options: ReadOptions | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """The network of `pipeline` is put into evaluation mode.

        Args:
            device: where the network is moved to; None: it stays where it is.
            options: how image files are read; by default as people see them, their EXIF orientation applied, and with
                the `image_bits` of the pipeline's input.
            batch_size: images of a list that are computed at once, at most.
        """
        pipeline = pipeline if device is None else pipeline.to(device)
        pipeline.model.eval()
        super().__init__(pipeline, options or replace(UPRIGHT, bits=pipeline.input.image_bits), batch_size)


def _detect_in(
    images: ImageLike | Sequence[ImageLike],
    options: ReadOptions,
    detector: PixelDetector,
    batch_size: int,
) -> Detections | list[Detections]:
    """What surrounds a detector, whichever it is: from images to its input, and from its output to the images.

    images, options, and what is returned and raised: as in `ImagePredictor`. detector: called with up to `batch_size`
    images at once.
    """
    is_list = isinstance(images, list | tuple)
    wanted: Iterable[ImageLike] = images if is_list else (images,)  # type: ignore[assignment]
    found: dict[int, Detections] = {}
    waiting: dict[tuple[int, int], list[tuple[int, Sample]]] = {}

    def detect_group(group: list[tuple[int, Sample]]) -> None:
        samples = [sample for _, sample in group]
        sizes = [size_in_input(sample.scale, sample.original_size) for sample in samples]
        results = detector(collate(samples, detector.pad_value, detector.size_divisor).images, sizes)
        for (index, sample), result in zip(group, results, strict=True):
            found[index] = to_image(result, sample.scale, sample.original_size)

    def pixels_of(size: tuple[int, int]) -> int:
        return len(waiting[size]) * size[0] * size[1]

    for index, image in enumerate(wanted):
        sample = detector.transform(_sample_of(image, options), np.random.default_rng(0))
        size = padded_size(sample.image.shape[:2], detector.size_divisor)
        waiting.setdefault(size, []).append((index, sample))
        if len(waiting[size]) == batch_size:
            detect_group(waiting.pop(size))
        while sum(map(pixels_of, waiting)) > HELD_PIXELS:
            detect_group(waiting.pop(max(waiting, key=pixels_of)))
    for group in waiting.values():
        detect_group(group)
    return [found[index] for index in range(len(found))] if is_list else found[0]


def _sample_of(image: ImageLike, options: ReadOptions) -> Sample:
    pixels = _pixels_of(image, options)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"an image must be (H, W, 3) uint8 RGB; this one is {pixels.shape} {pixels.dtype}")
    return unlabelled(pixels)


def _pixels_of(image: ImageLike, options: ReadOptions) -> np.ndarray:
    """The pixels of an image that is none yet. A PIL image's are those that it has: it was turned by who opened it."""
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | PathLike):
        return read_image(Path(image), options)
    if not isinstance(image, Image.Image):
        raise ValueError(
            f"an image is a file, an array (H, W, 3) uint8 RGB or a PIL image, or a list of these; this one is a "
            f"{type(image).__name__}"
        )
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"a PIL image must have 8 bits per channel; this one is {image.mode}: give its file instead")
    return np.asarray(image.convert("RGB"))


def _checked_batch_size(batch_size: int) -> int:
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size}: must be at least 1")
    return batch_size
