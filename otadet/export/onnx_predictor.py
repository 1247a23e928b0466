"""From an image to its detections through an ONNX file, without the experiment that it was exported from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from otadet.data.images import UPRIGHT, ReadOptions
from otadet.export.metadata import OnnxMetadata
from otadet.export.onnx_pipeline import OnnxPipeline
from otadet.export.session import CPU
from otadet.inference.predictor import BATCH_SIZE, ImageLike, detect_in
from otadet.structures import Detections


class OnnxPredictor:
    """A file written by `otadet.export.export_onnx` that is called with an image or many, as `Predictor` is.

    >>> predictor = OnnxPredictor("runs/quickstart/best.onnx")
    >>> detections = predictor("photo.jpg")
    """

    def __init__(self, path: str | Path, providers: Sequence[str] = CPU, *, options: ReadOptions | None = None) -> None:
        """providers: ONNX Runtime's execution providers, best first, such as "CUDAExecutionProvider".

        options: how image files are read; by default as people see them, their EXIF orientation applied, and with the
            `image_bits` of the file's metadata.

        Raises `UserError` for a missing file, one that ONNX Runtime refuses, and one that otadet did not write.
        """
        self.pipeline = OnnxPipeline(path, providers)
        self.options = options or replace(UPRIGHT, bits=self.metadata.input_spec.image_bits)

    @property
    def metadata(self) -> OnnxMetadata:
        """What the file says of itself."""
        return self.pipeline.metadata

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.pipeline.class_names

    # As in `Predictor`: the first that fits is taken.
    @overload
    def __call__(self, images: ImageLike) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Detections]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Detections | list[Detections]:
        """Detect objects in an image, or in each of a list of them; as `Predictor` does, and raises.

        The images of a list are computed together where the file takes any number of them.
        """
        return detect_in(
            images,
            self.options,
            self.pipeline.transform,
            self.pipeline.pad_value,
            self.pipeline.size_divisor,
            self.pipeline,
            BATCH_SIZE if self.metadata.dynamic_batch else 1,
        )
