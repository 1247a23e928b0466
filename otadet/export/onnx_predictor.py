"""From an image to its detections through an ONNX file, without the experiment that it was exported from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from otadet.data.images import UPRIGHT, ReadOptions, read_image
from otadet.data.sample import Transform
from otadet.data.transforms import FitInto, Letterbox, ResizeShortestEdge
from otadet.export.contract import check_graph, check_outputs
from otadet.export.metadata import OnnxMetadata
from otadet.export.session import CPU, metadata_of, open_session, run_session
from otadet.inference.predictor import detect_in_image
from otadet.models.normalize import PixelNorm
from otadet.structures import Detections


class OnnxPredictor:
    """A file written by `otadet.export.export_onnx` that is called with an image, as `Predictor` is.

    >>> predictor = OnnxPredictor("runs/quickstart/best.onnx")
    >>> detections = predictor("photo.jpg")
    """

    def __init__(self, path: str | Path, providers: Sequence[str] = CPU, *, options: ReadOptions | None = None) -> None:
        """providers: ONNX Runtime's execution providers, best first, such as "CUDAExecutionProvider".

        options: how image files are read; by default as people see them, their EXIF orientation applied, and with the
            `image_bits` of the file's metadata.

        Raises `UserError` for a missing file, one that ONNX Runtime refuses, and one that otadet did not write.
        """
        self._session = open_session(path, providers)
        self._path = path
        self.metadata = OnnxMetadata.from_strings(metadata_of(self._session, path), path)
        check_graph(self._session, self.metadata, path)
        self.class_names = self.metadata.class_names
        self._transform = input_transform(self.metadata)
        self.options = options or replace(UPRIGHT, bits=self.metadata.image_bits)
        self._normalize = PixelNorm(self.metadata.mean, self.metadata.std)

    def __call__(self, image: np.ndarray | str | Path) -> Detections:
        """Detect objects in an image file, or in an array (H, W, 3) uint8 RGB.

        Returns boxes in pixels of that image, clipped to it, best score first. Raises as `Predictor` does.
        """
        if not isinstance(image, np.ndarray):
            image = read_image(image, self.options)
        return detect_in_image(
            image, self._transform, self.metadata.pad_value, self.metadata.size_divisor, self._detect
        )

    def _detect(self, images: Tensor) -> Detections:
        outputs = run_session(self._session, self._normalize(images).numpy())
        check_outputs(outputs, self.metadata, tuple(images.shape), self._path)
        if self.metadata.nms:
            return Detections(outputs["boxes"], outputs["scores"], outputs["labels"])
        counts = self.metadata.level_counts(*images.shape[2:])
        boxes, *scores = (outputs[name][0] for name in self.metadata.raw_outputs)
        return self.metadata.postprocess.select(scores[0], boxes, counts, scores[-1])


def input_transform(metadata: OnnxMetadata) -> Transform:
    """How an image gets the size that the file wants."""
    if metadata.letterbox is not None:
        resize = Letterbox(metadata.letterbox, metadata.pad_value)
    else:
        shorter, longer = metadata.shortest_edge
        resize = ResizeShortestEdge((shorter,), longer)
    return resize if metadata.dynamic_size else FitInto(metadata.size, metadata.pad_value, resize)
