"""From pixels to detections through an ONNX file: what a `Pipeline` is for a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from otadet.data.sample import Transform
from otadet.errors import UserError
from otadet.export.contract import check_graph, check_outputs
from otadet.export.metadata import OnnxMetadata
from otadet.export.session import CPU, metadata_of, open_session, run_session
from otadet.inference.postprocess import Postprocess
from otadet.structures import Detections

AFTER = ("score_threshold", "topk_per_level", "nms_iou", "max_detections", "clip")
"""Fields of the postprocessing that are not part of the graph of a file without NMS."""


class OnnxPipeline:
    """A file written by `otadet.export.export_onnx`, as evaluation and prediction call it."""

    device = torch.device("cpu")
    """Where its images and detections are, wherever ONNX Runtime computes."""

    def __init__(self, path: str | Path, providers: Sequence[str] = CPU) -> None:
        """providers: ONNX Runtime's execution providers, best first, such as "CUDAExecutionProvider".

        Raises `UserError` for a missing file, one that ONNX Runtime refuses, and one that otadet did not write.
        """
        self._session = open_session(path, providers)
        self._path = path
        self.metadata = OnnxMetadata.from_strings(metadata_of(self._session, path), path)
        check_graph(self._session, self.metadata, path)
        self.postprocess = self.metadata.postprocess
        self._normalize = self.metadata.input_spec.pixel_norm()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.metadata.class_names

    @property
    def transform(self) -> Transform:
        """What gives an image the size that the file wants."""
        return self.metadata.transform

    @property
    def pad_value(self) -> tuple[int, int, int]:
        """RGB of the padding, 0-255."""
        return self.metadata.input_spec.pad_value

    @property
    def size_divisor(self) -> int:
        """The sides of the input are multiples of it."""
        return self.metadata.size_divisor

    def with_postprocess(self, wanted: Postprocess) -> OnnxPipeline:
        """The same with another postprocessing. Raises `UserError` where the file's graph has done what it says."""
        own = self.metadata.postprocess
        free = () if self.metadata.nms else AFTER
        # What NMS has left of scores is what it had left of the higher ones alone.
        if own.rank_by == "score" and wanted.score_threshold > own.score_threshold:
            free = (*free, "score_threshold")
        for name, value in vars(own).items():
            if (other := getattr(wanted, name)) != value and name not in free:
                without = ", or without --nms" if name in AFTER else ""
                raise UserError(
                    f"postprocess.{name} {other}: {self._path} has {value} in its graph; export with it{without}"
                )
        pipeline = copy(self)
        pipeline.postprocess = wanted
        return pipeline

    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Images (N, 3, H, W) uint8 RGB, and their N sizes without padding -> one `Detections` per image, as of a
        `Pipeline`; N is 1 unless the file has a dynamic batch."""
        outputs = run_session(self._session, self._normalize(images).numpy())
        check_outputs(outputs, self.metadata, tuple(images.shape), self._path)
        return [replace(found, vocabulary=self.class_names) for found in self._found(outputs, images, sizes)]

    def _found(
        self, outputs: dict[str, Tensor], images: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Iterator[Detections]:
        """What the outputs say of each image."""
        if self.metadata.nms:
            for row in range(len(images)):
                found = Detections(outputs["boxes"], outputs["scores"], outputs["labels"])[outputs["image"] == row]
                is_raised = self.postprocess.score_threshold > self.metadata.postprocess.score_threshold
                yield found[found.scores > self.postprocess.score_threshold] if is_raised else found
            return
        counts = self.metadata.level_counts(*images.shape[2:])
        raw = (outputs[name] for name in self.metadata.raw_outputs)
        for size, boxes, *scores in zip(sizes, *raw, strict=True):
            yield self.postprocess.select(scores[0], boxes, counts, scores[-1], size)
