"""The postprocessing as ONNX nodes: what `inference.postprocess.Postprocess` does, behind the network's own outputs.

The nodes are written in ONNX's textual syntax and put behind the exported graph, rather than exported from PyTorch:
operators and names are then the same whatever the versions of PyTorch and its exporter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from otadet.inference.postprocess import Postprocess

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

RAW_OUTPUTS = {"boxes": "all_boxes", "scores": "all_scores", "class_scores": "all_class_scores"}
"""What the network's own outputs are called inside a graph that ends with NMS; not every graph has the last."""

# A pair is an anchor and a class. The pairs of an image are numbered as its scores lie in memory.
_GRAPH = """
postprocess (float[batch, 3, height, width] images, {inputs})
    => (float[detections, 4] boxes, float[detections] scores, int64[detections] labels, int64[detections] image)
{{
    # Pairs of each level, and the number of the first.
    image_height = Shape <start = 2, end = 3> (images)
    image_width = Shape <start = 3, end = 4> (images)
    rows_up = Add (image_height, strides_less_one)
    columns_up = Add (image_width, strides_less_one)
    rows = Div (rows_up, strides)
    columns = Div (columns_up, strides)
    points = Mul (rows, columns)
    counts = Mul (points, scores_per_point)
    starts = CumSum <exclusive = 1> (counts, axis_0)
{clipping}
    # The best pairs of each level keep their score if they pass the threshold, all others get 0.
    flat_scores = Reshape (all_scores, batch_by_pairs)
    flat_ranks = Reshape ({ranks}, batch_by_pairs)
    {level_ranks} = Split <axis = 1> (flat_ranks, counts)
{levels}
    best = Concat <axis = 1> ({level_best})
    pairs = Concat <axis = 1> ({level_pairs})
    passes = Greater (best, score_threshold)
    pair_scores = GatherElements <axis = 1> (flat_scores, pairs)
    passing_scores = Where (passes, pair_scores, zero)
    flat_shape = Shape (flat_scores)
    nothing = ConstantOfShape (flat_shape)
    kept_flat = ScatterElements <axis = 1> (nothing, pairs, passing_scores)
    scores_shape = Shape (all_scores)
    kept = Reshape (kept_flat, scores_shape)
    kept_by_class = Transpose <perm = [0, 2, 1]> (kept)

    # Rows of image, class, anchor.
    chosen = NonMaxSuppression ({boxes}, kept_by_class, max_detections, nms_iou, zero)
    chosen_image = Gather <axis = 1> (chosen, index_0)
    chosen_label = Gather <axis = 1> (chosen, index_1)
    image_anchor = Gather <axis = 1> (chosen, indices_02)
    image_anchor_class = Gather <axis = 1> (chosen, indices_021)
    chosen_boxes = GatherND ({boxes}, image_anchor)
    chosen_scores = GatherND (all_scores, image_anchor_class)

    # Best first; of each image no more than max_detections.
    chosen_count = Shape <end = 1> (chosen)
    sorted_scores, by_score = TopK <axis = 0> (chosen_scores, chosen_count)
    sorted_image = Gather (chosen_image, by_score)
    batch_shape = Shape <end = 1> (images)
    batch_size = Squeeze (batch_shape)
    batch_range = Range (index_0, batch_size, index_1)
    sorted_image_column = Unsqueeze (sorted_image, axes_1)
    is_of_image = Equal (sorted_image_column, batch_range)
    one_hot = Cast <to = 7> (is_of_image)
    rank_in_images = CumSum (one_hot, axis_0)
    own_rank = Mul (rank_in_images, one_hot)
    rank = ReduceSum <keepdims = 0> (own_rank, axes_1)
    within = LessOrEqual (rank, max_detections)
    final_by_score = Compress <axis = 0> (by_score, within)
    final_image = Compress <axis = 0> (sorted_image, within)

    # Image by image; the position breaks ties, because TopK is not stable everywhere.
    final_count = Shape <end = 1> (final_image)
    final_size = Squeeze (final_count)
    position = Range (index_0, final_size, index_1)
    image_major = Mul (final_image, final_count)
    key = Add (image_major, position)
    sorted_key, by_image = TopK <axis = 0, largest = 0> (key, final_count)
    order = Gather (final_by_score, by_image)
    boxes = Gather (chosen_boxes, order)
    scores = Gather (chosen_scores, order)
    labels = Gather (chosen_label, order)
    image = Gather (chosen_image, order)
}}
"""

_CLIPPING = """
    # No box reaches out of the input.
    whole_corners = Concat <axis = 0> (image_width, image_height, image_width, image_height)
    corners = Cast <to = 1> (whole_corners)
    from_zero = Max (all_boxes, zero)
    clipped_boxes = Min (from_zero, corners)
"""

_LEVEL = """
    count_{level} = Gather (counts, level_{level})
    k_{level} = Min (count_{level}, topk)
    best_{level}, pair_in_level_{level} = TopK <axis = 1> (ranks_{level}, k_{level})
    start_{level} = Gather (starts, level_{level})
    pairs_{level} = Add (pair_in_level_{level}, start_{level})"""


def append_nms(
    model: ModelProto, strides: Sequence[int], scores_per_point: int, postprocess: Postprocess
) -> ModelProto:
    """A copy of `model` that ends with the postprocessing.

    Args:
        model: input images (N, 3, H, W), outputs boxes (N, A, 4), scores (N, A, C) and, to rank by the class,
            class_scores (N, A, C). The copy's outputs are those of D detections of all images, image by image, best
            score first: boxes (D, 4), scores (D,), labels (D,) int64 and image (D,) int64, the row of the batch.
        strides: of the levels, in pixels.
        scores_per_point: C times the anchors of a point.
        postprocess: what the nodes are to do.
    """
    from onnx import ModelProto

    result = ModelProto()
    result.CopyFrom(model)
    _rename(result.graph, RAW_OUTPUTS)
    tail = postprocess_graph(strides, scores_per_point, postprocess)
    _rename(tail, {name: f"nms/{name}" for name in _inner_names(tail)})
    result.graph.node.extend(tail.node)
    result.graph.initializer.extend(tail.initializer)
    del result.graph.output[:]
    result.graph.output.extend(tail.output)
    return result


def postprocess_graph(strides: Sequence[int], scores_per_point: int, postprocess: Postprocess) -> GraphProto:
    """The postprocessing alone: images (only their size matters) and the `RAW_OUTPUTS` -> the detections."""
    from onnx import numpy_helper, parser

    levels = range(len(strides))
    inputs = ["float[batch, A, 4] all_boxes", "float[batch, A, C] all_scores"]
    by_class = postprocess.rank_by == "class"
    text = _GRAPH.format(
        inputs=", ".join([*inputs, "float[batch, A, C] all_class_scores"] if by_class else inputs),
        ranks="all_class_scores" if by_class else "all_scores",
        clipping=_CLIPPING if postprocess.clip else "",
        boxes="clipped_boxes" if postprocess.clip else "all_boxes",
        levels="".join(_LEVEL.format(level=level) for level in levels),
        level_ranks=", ".join(f"ranks_{level}" for level in levels),
        level_best=", ".join(f"best_{level}" for level in levels),
        level_pairs=", ".join(f"pairs_{level}" for level in levels),
    )
    graph = parser.parse_graph(text)
    for node in graph.node:
        # Some versions of ONNX Runtime make new names out of these, which must differ.
        node.name = f"nms/{node.output[0]}"
    integers = {
        "strides": strides,
        "strides_less_one": [stride - 1 for stride in strides],
        "scores_per_point": [scores_per_point],
        "topk": [postprocess.topk_per_level],
        "max_detections": [postprocess.max_detections],
        "batch_by_pairs": [0, -1],
        "axis_0": 0,
        "axes_1": [1],
        "index_0": 0,
        "index_1": 1,
        "indices_02": [0, 2],
        "indices_021": [0, 2, 1],
    }
    integers |= {f"level_{level}": [level] for level in levels}
    numbers = {"nms_iou": [postprocess.nms_iou], "score_threshold": [postprocess.score_threshold], "zero": [0.0]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in integers.items())
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.float32), name) for name, v in numbers.items())
    return graph


def _inner_names(graph: GraphProto) -> set[str]:
    outer = {value.name for value in (*graph.input, *graph.output)}
    names = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    return names - outer


def _rename(graph: GraphProto, new_names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        node.output[:] = [new_names.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = new_names.get(value.name, value.name)
