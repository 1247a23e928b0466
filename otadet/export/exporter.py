"""A detector as an ONNX file that is written only after it was seen to compute the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from otadet import __version__
from otadet.data.batch import padded_size
from otadet.data.sample import Transform
from otadet.data.transforms import Compose, Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.export.check import compare, textured_images
from otadet.export.graph import LOWEST_OPSET, trace
from otadet.export.metadata import OnnxMetadata
from otadet.export.nms import append_nms
from otadet.export.session import require
from otadet.files import atomic_write
from otadet.inference.postprocess import Postprocess
from otadet.models.detector import Detector
from otadet.models.normalize import PixelNorm

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
    """(height, width) of the input, multiples of the size divisor. None: the smallest that holds what the test
    transform makes of a landscape image."""
    image_bits: int = 16
    """Bits that the values of 16-bit image files use, for whoever reads files for the network."""


def export_onnx(
    detector: Detector,
    path: str | Path,
    *,
    transform: Transform,
    normalize: PixelNorm,
    postprocess: Postprocess,
    class_names: Sequence[str],
    options: ExportOptions | None = None,
    experiment: str = "",
    report: Callable[[str], None] = print,
) -> OnnxMetadata:
    """Write `detector` as one self-contained ONNX file; returns what its metadata says.

    `OnnxMetadata` describes the input and the outputs. Before the file appears, the model is run in ONNX Runtime on
    noise pictures and compared with PyTorch, with 1 and 3 images and at two sizes where these are dynamic.

    detector: images -> (predictions, anchors), as `otadet.models.Detector`; it is put into evaluation mode.
    transform: that of evaluation, one `Letterbox` or one `ResizeShortestEdge` with one size.
    report: gets a line for each step.

    Raises `UserError` for options that cannot be met, a missing package, and a model that computes something else.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module)
    options = options or ExportOptions()
    detector.eval()
    metadata = _describe(detector, transform, normalize, postprocess, class_names, options, experiment)
    # Whoever reads the file checks it: what would be refused then is refused now.
    metadata = OnnxMetadata.from_strings(metadata.to_strings(), path)
    # Opened first: a place that cannot be written to should not cost the minutes of an export.
    with atomic_write(path) as file:
        by_class = postprocess.rank_by == "class"
        model = trace(detector, metadata.size, options.opset, options.dynamic_batch, options.dynamic_size, by_class)
        report(f"exported the network, opset {options.opset}")
        if options.nms:
            model = append_nms(model, metadata.strides, len(metadata.class_names), postprocess)
            kind = "class scores" if by_class else "scores"
            report(f"appended NMS: {kind} above {postprocess.score_threshold}, IoU {postprocess.nms_iou}")
        _finish(model, metadata)
        batches = _test_batches(metadata, normalize, next(detector.parameters()).device)
        for comparison in compare(model, detector, metadata, batches):
            report(f"compared with PyTorch: {comparison}")
            if not comparison.agrees:
                raise UserError(f"{path}: not written, because it computes something else than PyTorch: {comparison}")
        file.write(model.SerializeToString())
    return metadata


def _describe(
    detector: Detector,
    transform: Transform,
    normalize: PixelNorm,
    postprocess: Postprocess,
    class_names: Sequence[str],
    options: ExportOptions,
    experiment: str,
) -> OnnxMetadata:
    resize, size = _input_rule(transform, options.size, detector.size_divisor)
    return OnnxMetadata(
        size=size,
        dynamic_batch=options.dynamic_batch,
        dynamic_size=options.dynamic_size,
        nms=options.nms,
        opset=options.opset,
        mean=normalize.mean_values,
        std=normalize.std_values,
        pad_value=normalize.pad_value,
        size_divisor=detector.size_divisor,
        letterbox=resize.size if isinstance(resize, Letterbox) else None,
        shortest_edge=(*resize.sizes, resize.max_size) if isinstance(resize, ResizeShortestEdge) else None,
        class_names=tuple(class_names),
        strides=detector.strides,
        **asdict(postprocess),
        experiment=experiment,
        otadet=__version__,
        image_bits=options.image_bits,
    )


def _input_rule(
    transform: Transform, wanted: tuple[int, int] | None, divisor: int
) -> tuple[Letterbox | ResizeShortestEdge, tuple[int, int]]:
    """The one step of the test transform, adapted to the wanted size, and the (height, width) of the input."""
    match transform.transforms if isinstance(transform, Compose) else (transform,):
        case (Letterbox() as resize,):
            resize = replace(resize, size=wanted or resize.size)
            size = resize.size
        case (ResizeShortestEdge(sizes=(shorter,), max_size=longer) as resize,):
            size = wanted or (shorter, longer)
        case _:
            raise UserError(
                f"the experiment's test transform is {transform}; a file can describe one Letterbox, or one "
                "ResizeShortestEdge with one size"
            )
    padded = padded_size((max(1, size[0]), max(1, size[1])), divisor)
    if wanted is not None and wanted != padded:
        raise UserError(
            f"size {wanted[0]} x {wanted[1]}: must be multiples of {divisor}, such as {padded[0]} x {padded[1]}"
        )
    return resize, padded


def _finish(model: ModelProto, metadata: OnnxMetadata) -> None:
    from onnx import checker, helper

    helper.set_model_props(model, metadata.to_strings())
    checker.check_model(model, full_check=True)


def _test_batches(metadata: OnnxMetadata, normalize: PixelNorm, device: torch.device) -> list[Tensor]:
    """Normalised noise at every kind of shape that the metadata promises."""
    shapes = [(1, *metadata.size)]
    if metadata.dynamic_batch or metadata.dynamic_size:
        rows, columns = SECOND_SIZE
        divisor = metadata.size_divisor
        size = (rows * divisor, columns * divisor) if metadata.dynamic_size else metadata.size
        shapes.append((3 if metadata.dynamic_batch else 1, *size))
    return [normalize(textured_images(*shape).to(device)) for shape in shapes]
