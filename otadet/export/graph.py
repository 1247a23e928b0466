"""From a detector to its ONNX graph, through PyTorch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from otadet import __version__
from otadet.data.batch import padded_size
from otadet.errors import UserError
from otadet.inference.postprocess import Postprocess, class_scores_of, scores_of
from otadet.models.detector import Detector

if TYPE_CHECKING:
    from onnx import ModelProto

LOWEST_OPSET = 18
"""The first that PyTorch's exporter writes without a conversion that may fail."""
TRACED_CELLS = (3, 4)
"""(rows, columns) of the coarsest level of a graph with dynamic size: the exporter would take a 1 for a constant."""


def trace(
    detector: Detector,
    size: tuple[int, int],
    opset: int,
    dynamic_batch: bool,
    dynamic_size: bool,
    postprocess: Postprocess,
) -> ModelProto:
    """The graph images (N, 3, H, W) -> boxes (N, A, 4), scores (N, A, C), with its weights inside.

    Args:
        size: (height, width), where it is not dynamic.
        postprocess: says what the scores are; where it ranks by the class, a third output class_scores, (N, A, C), has
            the class probabilities.

    Raises `UserError` for an opset that cannot be written and a detector that cannot be exported.
    """
    from onnx import defs

    newest = defs.onnx_opset_version()
    class_scores = postprocess.rank_by == "class"
    if not LOWEST_OPSET <= opset <= newest:
        raise UserError(f"opset {opset}: choose one from {LOWEST_OPSET} to {newest}")
    divisor = detector.size_divisor
    if dynamic_size:
        rows, columns = TRACED_CELLS
        coarsest = max(detector.strides)
        size = padded_size((rows * coarsest, columns * coarsest), divisor)
    shape = (2 if dynamic_batch else 1, 3, *size)
    images = torch.zeros(shape, device=next(detector.parameters()).device)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _BoxesAndScores(detector, postprocess).eval(),
                (images,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["boxes", "scores", "class_scores"][: 3 if class_scores else 2],
                opset_version=opset,
                dynamic_shapes=_dynamic_shapes(dynamic_batch, divisor if dynamic_size else None),
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"PyTorch cannot export this detector: {error.__cause__ or error}") from error
    assert program is not None
    model = program.model_proto
    written = next(entry.version for entry in model.opset_import if not entry.domain)
    if written != opset:
        raise UserError(f"opset {opset}: PyTorch's exporter wrote {written} instead; choose {written}")
    return _tidied(model, dynamic_batch, dynamic_size)


class _BoxesAndScores(nn.Module):
    def __init__(self, detector: Detector, postprocess: Postprocess) -> None:
        super().__init__()
        self.detector = detector
        self.postprocess = postprocess

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        predictions, _ = self.detector(images)
        outputs = predictions.boxes, scores_of(predictions, self.postprocess.score, self.postprocess.classes)
        return (*outputs, class_scores_of(predictions)) if self.postprocess.rank_by == "class" else outputs


def _dynamic_shapes(batch: bool, divisor: int | None) -> dict[str, dict]:
    """divisor: of height and width, where they are dynamic."""
    dims = {0: torch.export.Dim("batch")} if batch else {}
    if divisor is not None:
        dims |= {2: divisor * torch.export.Dim("h"), 3: divisor * torch.export.Dim("w")}
    return {"images": dims}


def _tidied(model: ModelProto, dynamic_batch: bool, dynamic_size: bool) -> ModelProto:
    """With plain names for the dimensions, and without the source lines and paths that the exporter notes down."""
    from onnx import TensorProto, helper

    boxes, scores = model.graph.output[:2]
    batch = "batch" if dynamic_batch else 1
    anchors = "anchors" if dynamic_size else boxes.type.tensor_type.shape.dim[1].dim_value
    classes = scores.type.tensor_type.shape.dim[2].dim_value
    height, width = (
        name if dynamic_size else dim.dim_value
        for name, dim in zip(("height", "width"), model.graph.input[0].type.tensor_type.shape.dim[2:], strict=True)
    )
    nodes, weights = list(model.graph.node), list(model.graph.initializer)
    for entry in (*nodes, *weights):
        entry.doc_string = ""
        entry.ClearField("metadata_props")
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, height, width))],
        [
            helper.make_tensor_value_info(
                output.name, TensorProto.FLOAT, (batch, anchors, 4 if output.name == "boxes" else classes)
            )
            for output in model.graph.output
        ],
        weights,
    )
    return helper.make_model(
        graph,
        producer_name="otadet",
        producer_version=__version__,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=max(model.ir_version, helper.find_min_ir_version_for(model.opset_import)),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and its converters print and log; what goes wrong is raised or found afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
