"""Does an exported model compute what the network does? Both run on the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from otadet.export.metadata import OnnxMetadata
from otadet.export.nms import RAW_OUTPUTS
from otadet.export.session import open_session, run_session
from otadet.inference.postprocess import class_scores_of, scores_of
from otadet.integers import ceil_div

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE = 0.05
"""Pixels for inputs of up to 1000 pixels, and in proportion for larger ones."""
UNMATCHED_TOLERANCE = 0.02
"""Share of the detections: an IoU that is nms_iou but for rounding may be on either side of it."""


@dataclass(frozen=True)
class OnnxComparison:
    """How far the model in ONNX Runtime and the network in PyTorch are apart on one batch."""

    shape: tuple[int, ...]
    """(N, 3, H, W) of the batch."""
    boxes: float
    """Largest absolute difference of all anchors' boxes, in pixels."""
    scores: float
    """Largest absolute difference of all anchors' scores, 0-1, and of their class scores where the model has them."""
    detections: int | None = None
    """How many `Postprocess` finds; None for a model that does not end with NMS."""
    unmatched: int = 0
    """How many of them the model lacks, plus how many it has beyond them."""

    @property
    def agrees(self) -> bool:
        """Whether all differences are within what rounding makes of equal networks."""
        box_tolerance = BOX_TOLERANCE * max(1.0, max(self.shape[2:]) / 1000)
        unmatched_tolerance = UNMATCHED_TOLERANCE * (self.detections or 0)
        # Comparisons with NaN are false, so NaN does not agree.
        return self.boxes <= box_tolerance and self.scores <= SCORE_TOLERANCE and self.unmatched <= unmatched_tolerance

    def __str__(self) -> str:
        text = f"{' x '.join(map(str, self.shape))}: boxes differ by {self.boxes:.2g} px, scores by {self.scores:.2g}"
        if self.detections is None:
            return text
        return f"{text}, {self.unmatched} of {self.detections} detections differ"


def compare(
    model: ModelProto, detector: nn.Module, metadata: OnnxMetadata, batches: list[Tensor]
) -> list[OnnxComparison]:
    """`model` in ONNX Runtime on the CPU against `detector` in PyTorch, on the device of the batches.

    batches: normalised images (N, 3, H, W). Raises `UserError` where ONNX Runtime refuses the model or a batch.
    """
    session = open_session((_with_raw_outputs(model, metadata) if metadata.nms else model).SerializeToString())
    return [_compare_batch(session, detector, metadata, images) for images in batches]


def textured_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(count, 3, height, width) uint8: noise of several octaves, so that no two places look the same."""
    rng = np.random.default_rng(seed)
    images = np.full((count, height, width, 3), 128.0)
    for image in images:
        for cell in (1, 4, 16, 64):
            noise = rng.uniform(-64, 64, (ceil_div(height, cell), ceil_div(width, cell), 3))
            image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def _compare_batch(
    session: InferenceSession, detector: nn.Module, metadata: OnnxMetadata, images: Tensor
) -> OnnxComparison:
    # TF32 convolutions have too few digits to compare.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        predictions, _ = detector(images)
    outputs = run_session(session, images.cpu().numpy())
    raw = [outputs[RAW_OUTPUTS[name] if metadata.nms else name] for name in metadata.raw_outputs]
    expected_scores = (scores_of(predictions, metadata.score), class_scores_of(predictions))
    # Which of two nearly equal classes is the best is a matter of rounding; how good it is, is not.
    compared = torch.clone if metadata.classes == "all" else partial(torch.amax, dim=-1)
    differences = [
        _largest_difference(compared(a), compared(b)) for a, b in zip(raw[1:], expected_scores, strict=False)
    ]
    comparison = OnnxComparison(
        tuple(images.shape),
        _largest_difference(raw[0], predictions.boxes),
        # NaN is the largest difference of all, which `max` does not know.
        torch.tensor(differences).amax().item(),
    )
    if not metadata.nms:
        return comparison
    expected = _postprocessed(raw, metadata, (images.shape[2], images.shape[3]))
    found = _as_set(outputs["boxes"], outputs["scores"], outputs["labels"], outputs["image"])
    return replace(comparison, detections=len(expected), unmatched=len(expected ^ found))


def _postprocessed(raw: Sequence[Tensor], metadata: OnnxMetadata, size: tuple[int, int]) -> set[tuple[float, ...]]:
    """What `Postprocess` finds, as `_as_set`.

    raw: the model's own outputs before NMS, since near-equal scores may swap places between two computations of them.
    size: (height, width) of the input in pixels.
    """
    counts, found = metadata.level_counts(*size), set[tuple[float, ...]]()
    for row, (boxes, scores, class_scores) in enumerate(zip(raw[0], raw[1], raw[-1], strict=True)):
        one = metadata.postprocess.select(scores, boxes, counts, class_scores, size)
        found |= _as_set(one.boxes, one.scores, one.labels, torch.full_like(one.labels, row))
    return found


def _largest_difference(a: Tensor, b: Tensor) -> float:
    return (a - b.float().cpu()).abs().max().item()


def _as_set(boxes: Tensor, scores: Tensor, labels: Tensor, image: Tensor) -> set[tuple[float, ...]]:
    return set(map(tuple, torch.column_stack((boxes, scores, labels, image)).tolist()))


def _with_raw_outputs(model: ModelProto, metadata: OnnxMetadata) -> ModelProto:
    from onnx import ModelProto, TensorProto, helper

    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(
        helper.make_tensor_value_info(RAW_OUTPUTS[name], TensorProto.FLOAT, None) for name in metadata.raw_outputs
    )
    return copy
