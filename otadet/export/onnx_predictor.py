"""From an image to its detections through an ONNX file, without the experiment that it was exported from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from torch import Tensor

from otadet.data.images import UPRIGHT, ReadOptions
from otadet.export.contract import check_graph, check_outputs
from otadet.export.metadata import OnnxMetadata
from otadet.export.session import CPU, metadata_of, open_session, run_session
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
        self._session = open_session(path, providers)
        self._path = path
        self.metadata = OnnxMetadata.from_strings(metadata_of(self._session, path), path)
        check_graph(self._session, self.metadata, path)
        self.options = options or replace(UPRIGHT, bits=self.metadata.input_spec.image_bits)
        self._normalize = self.metadata.input_spec.pixel_norm()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.metadata.class_names

    # As in `Predictor`: the first that fits is taken.
    @overload
    def __call__(self, images: ImageLike) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Detections]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Detections | list[Detections]:
        """Detect objects in an image, or in each of a list of them; as `Predictor` does, and raises.

        The images of a list are computed together where the file takes any number of them.
        """
        spec = self.metadata.input_spec
        return detect_in(
            images,
            self.options,
            self.metadata.transform,
            spec.pad_value,
            self.metadata.size_divisor,
            self._detect,
            BATCH_SIZE if self.metadata.dynamic_batch else 1,
        )

    def _detect(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        outputs = run_session(self._session, self._normalize(images).numpy())
        check_outputs(outputs, self.metadata, tuple(images.shape), self._path)
        return [replace(found, vocabulary=self.class_names) for found in self._found(outputs, images, sizes)]

    def _found(
        self, outputs: dict[str, Tensor], images: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Iterator[Detections]:
        """What the outputs say of each image."""
        if self.metadata.nms:
            for row in range(len(images)):
                yield Detections(outputs["boxes"], outputs["scores"], outputs["labels"])[outputs["image"] == row]
            return
        counts = self.metadata.level_counts(*images.shape[2:])
        raw = (outputs[name] for name in self.metadata.raw_outputs)
        for size, boxes, *scores in zip(sizes, *raw, strict=True):
            yield self.metadata.postprocess.select(scores[0], boxes, counts, scores[-1], size)
