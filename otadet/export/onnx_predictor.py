"""From an image to its detections through an ONNX file, without the experiment that it was exported from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otadet.data.images import UPRIGHT, ReadOptions
from otadet.export.metadata import OnnxMetadata
from otadet.export.onnx_pipeline import OnnxPipeline
from otadet.export.session import CPU
from otadet.inference.predictor import BATCH_SIZE, ImagePredictor


class OnnxPredictor(ImagePredictor[OnnxPipeline]):
    """A file written by `otadet.export.export_onnx` that is called with an image or many, as `Predictor` is.

    The images of a list are computed together where the file takes any number of them.

    >>> predictor = OnnxPredictor("runs/quickstart/best.onnx")
    >>> detections = predictor("photo.jpg")
    """

    def __init__(self, path: str | Path, providers: Sequence[str] = CPU, *, options: ReadOptions | None = None) -> None:
        """providers: ONNX Runtime's execution providers, best first, such as "CUDAExecutionProvider".

        options: how image files are read; by default as people see them, their EXIF orientation applied, and with the
            `image_bits` of the file's metadata.

        Raises `UserError` for a missing file, one that ONNX Runtime refuses, and one that otadet did not write.
        """
        pipeline = OnnxPipeline(path, providers)
        options = options or replace(UPRIGHT, bits=pipeline.metadata.input_spec.image_bits)
        super().__init__(pipeline, options, BATCH_SIZE if pipeline.metadata.dynamic_batch else 1)

    @property
    def metadata(self) -> OnnxMetadata:
        """What the file says of itself."""
        return self.pipeline.metadata
