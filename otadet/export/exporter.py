"""A detector as an ONNX file that is written only after it was seen to compute the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from otadet import __version__
from otadet.data.batch import padded_size
from otadet.data.transforms import Letterbox
from otadet.errors import UserError
from otadet.export.check import compare, textured_images
from otadet.export.graph import LOWEST_OPSET, trace
from otadet.export.metadata import OnnxMetadata
from otadet.export.nms import append_nms
from otadet.export.session import require
from otadet.files import atomic_write
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess

if TYPE_CHECKING:
    from onnx import ModelProto

SECOND_SIZE = (5, 7)
"""(height, width), in size divisors, that a graph with dynamic size is also compared at."""


@dataclass(frozen=True)
class ExportOptions:
    """The kind of file that is wanted."""

    opset: int = LOWEST_OPSET
    """Of ONNX's operators; the lowest is read by the most programs."""
    dynamic_batch: bool = False
    """Any number of images, instead of one."""
    dynamic_size: bool = False
    """Any height and width that are multiples of the network's size divisor."""
    nms: bool = False
    """End with the postprocessing, instead of the boxes and scores of all anchors."""
    size: tuple[int, int] | None = None
    """(height, width) of the input, multiples of the size divisor. None: the smallest that holds what the
    pipeline makes of a landscape image."""


def export_onnx(
    pipeline: Pipeline,
    path: str | Path,
    options: ExportOptions | None = None,
    *,
    experiment: str = "",
    from_training: bool = True,
    report: Callable[[str], None] = print,
) -> OnnxMetadata:
    """Write `pipeline` as one self-contained ONNX file; returns what its metadata says.

    `OnnxMetadata` describes the input and the outputs. Before the file appears, the model is run in ONNX Runtime on
    noise pictures and compared with PyTorch, with 1 and 3 images and at two sizes where these are dynamic.

    Args:
        pipeline: its network is put into evaluation mode, and its postprocessing must be a `Postprocess`.
        experiment: a text for the metadata.
        from_training: whether otadet has trained the network, for the metadata.
        report: gets a line for each step.

    Raises `UserError` for options that cannot be met, a missing package, and a model that computes something else.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module)
    options = options or ExportOptions()
    postprocess, detector = pipeline.postprocess, pipeline.model.eval()
    if not isinstance(postprocess, Postprocess):
        raise UserError(f"the postprocessing is {type(postprocess).__name__}; a file can describe a Postprocess alone")
    metadata = replace(_describe(pipeline, postprocess, options, experiment), from_training=from_training)
    # Whoever reads the file checks it: what would be refused then is refused now.
    metadata = OnnxMetadata.from_strings(metadata.to_strings(), path)
    # Opened first: a place that cannot be written to should not cost the minutes of an export.
    with atomic_write(path) as file:
        model = trace(detector, metadata.size, options.opset, options.dynamic_batch, options.dynamic_size, postprocess)
        report(f"exported the network, opset {options.opset}")
        if options.nms:
            scores_per_point = len(metadata.class_names) * metadata.anchors_per_location
            model = append_nms(model, metadata.strides, scores_per_point, postprocess)
            kind = "class scores" if postprocess.rank_by == "class" else "scores"
            report(f"appended NMS: {kind} above {postprocess.score_threshold}, IoU {postprocess.nms_iou}")
        _finish(model, metadata)
        batches = _test_batches(metadata, pipeline.device)
        for comparison in compare(model, detector, metadata, batches):
            report(f"compared with PyTorch: {comparison}")
            if not comparison.agrees:
                raise UserError(f"{path}: not written, because it computes something else than PyTorch: {comparison}")
        file.write(model.SerializeToString())
    return metadata


def _describe(pipeline: Pipeline, postprocess: Postprocess, options: ExportOptions, experiment: str) -> OnnxMetadata:
    detector = pipeline.model
    spec, size = _input_of_size(pipeline.input, options.size, detector.size_divisor)
    return OnnxMetadata(
        size=size,
        dynamic_batch=options.dynamic_batch,
        dynamic_size=options.dynamic_size,
        nms=options.nms,
        opset=options.opset,
        input_spec=spec,
        size_divisor=detector.size_divisor,
        class_names=pipeline.class_names,
        strides=detector.strides,
        anchors_per_location=getattr(detector, "anchors_per_location", 1),
        **asdict(postprocess),
        experiment=experiment,
        otadet=__version__,
    )


def _input_of_size(spec: InputSpec, wanted: tuple[int, int] | None, divisor: int) -> tuple[InputSpec, tuple[int, int]]:
    """The input adapted to the wanted size, and its (height, width) in pixels."""
    resize = spec.resize
    if isinstance(resize, Letterbox):
        size = wanted or resize.size
        spec = replace(spec, resize=replace(resize, size=size))
    else:
        size = wanted or (resize.sizes[0], resize.max_size)
    padded = padded_size((max(1, size[0]), max(1, size[1])), divisor)
    if wanted is not None and wanted != padded:
        raise UserError(
            f"size {wanted[0]} x {wanted[1]}: must be multiples of {divisor}, such as {padded[0]} x {padded[1]}"
        )
    return spec, padded


def _finish(model: ModelProto, metadata: OnnxMetadata) -> None:
    from onnx import checker, helper

    helper.set_model_props(model, metadata.to_strings())
    checker.check_model(model, full_check=True)


def _test_batches(metadata: OnnxMetadata, device: torch.device) -> list[Tensor]:
    """Normalised noise at every kind of shape that the metadata promises."""
    shapes = [(1, *metadata.size)]
    if metadata.dynamic_batch or metadata.dynamic_size:
        rows, columns = SECOND_SIZE
        divisor = metadata.size_divisor
        size = (rows * divisor, columns * divisor) if metadata.dynamic_size else metadata.size
        shapes.append((3 if metadata.dynamic_batch else 1, *size))
    return [metadata.input_spec.normalize(textured_images(*shape).to(device)) for shape in shapes]
