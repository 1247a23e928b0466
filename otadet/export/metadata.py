"""What an exported file says of itself: everything that is needed to use it without its experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from otadet.data.sample import Transform
from otadet.data.transforms import FitInto
from otadet.export.metadata_check import read_texts
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Classes, Postprocess, RankBy, ScoreKind
from otadet.integers import ceil_div

INPUT = "images: float32 (N, 3, H, W), RGB, (pixel - mean) / std of pixels in 0-255, padded right and bottom"


LATER = ("rank_by", "score", "classes", "clip", "anchors_per_location", "from_training")
"""Entries that files of an older otadet lack."""


@dataclass(frozen=True)
class OnnxMetadata:
    """The entries of `metadata_props`. Texts are stored as they are, everything else as JSON."""

    size: tuple[int, int]
    """(height, width) of the input; with `dynamic_size` only one that was tested."""
    dynamic_batch: bool
    """Whether the number of images is free; else it is 1."""
    dynamic_size: bool
    """Whether height and width are free."""
    nms: bool
    """False: outputs boxes (N, A, 4), scores (N, A, C) and, where `rank_by` is "class", class_scores (N, A, C). True: D
    detections of all images, image by image, best first: boxes (D, 4), scores (D,), labels (D,) and image (D,), the row
    of the batch."""
    opset: int
    """The version of ONNX's operators."""
    input_spec: InputSpec
    """How an image becomes the input; an image that a fixed `size` cannot hold is resized to a smaller one."""
    size_divisor: int
    """With `dynamic_size`, height and width are padded to a multiple of this."""
    class_names: tuple[str, ...]
    """(C,) by label."""
    strides: tuple[int, ...]
    """Of the levels. Level l has ceil(H / stride) * ceil(W / stride) * anchors_per_location anchors; A is their sum,
    finest level first."""
    score_threshold: float
    """Least score of a detection, 0-1."""
    topk_per_level: int
    """Pairs of an anchor and a class."""
    nms_iou: float
    """IoU above which NMS drops the box of the lower score."""
    max_detections: int
    """Per image."""
    experiment: str
    """Its name."""
    otadet: str
    """The version that wrote the file."""
    input: str = INPUT
    """Name of the input of the graph."""
    rank_by: RankBy = "score"
    """What `score_threshold` and `topk_per_level` look at: "score" or "class"."""
    score: ScoreKind = "geometric_mean"
    """What the scores are of the class probability and the quality: their "geometric_mean" or "product"."""
    classes: Classes = "all"
    """Of an anchor that have a score: "all", or the "best" alone, the others being 0."""
    clip: bool = False
    """Whether boxes are limited to the image before NMS; in a file with `nms` to the whole input, with its padding."""
    anchors_per_location: int = 1
    """Anchor boxes at each point of a level."""
    from_training: bool = True
    """Whether otadet has trained it: an evaluation parts a folder without a validation split as the training did then;
    converted weights are measured on all of its images."""

    def to_plain(self) -> dict[str, Any]:
        """Name -> value, as plain data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"input_spec": self.input_spec.to_dict()}

    def to_strings(self) -> dict[str, str]:
        """The entries as they are stored."""
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.to_plain().items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str | Path) -> OnnxMetadata:
        """Inverse of `to_strings`. Raises `UserError` naming `path`, the entry and what would be right for a file that
        otadet did not write, or that somebody changed; all is checked before anything is used."""
        return cls(**read_texts(strings, {field.name: field.name not in LATER for field in fields(cls)}, path))

    @property
    def postprocess(self) -> Postprocess:
        return Postprocess(**{field.name: getattr(self, field.name) for field in fields(Postprocess)})

    @property
    def transform(self) -> Transform:
        """What gives an image the size that the file wants."""
        resize = self.input_spec.transform
        return resize if self.dynamic_size else FitInto(self.size, self.input_spec.pad_value, resize)

    @property
    def raw_outputs(self) -> tuple[str, ...]:
        """The outputs for all anchors, of a file without `nms`."""
        return ("boxes", "scores", "class_scores") if self.rank_by == "class" else ("boxes", "scores")

    def level_counts(self, height: int, width: int) -> list[int]:
        """Anchors of each level for an input of that size in pixels."""
        return [
            ceil_div(height, stride) * ceil_div(width, stride) * self.anchors_per_location for stride in self.strides
        ]
