import numpy as np
import pytest
import torch

from otadet.export.nms import postprocess_graph
from otadet.export.session import open_session
from otadet.inference.postprocess import Postprocess

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

STRIDES = (8, 16, 32, 64, 128)
CLASSES = 3


def session_for(postprocess: Postprocess, opset: int = 18, per_location: int = 1):
    graph = postprocess_graph(STRIDES, CLASSES * per_location, postprocess)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return open_session(model.SerializeToString())


def crowded(
    count: int, height: int, width: int, per_location: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """Random boxes (N, A, 4) of which many overlap, scores and class scores (N, A, C), anchors of each level."""
    generator = torch.Generator().manual_seed(height)
    counts = [-(-height // stride) * -(-width // stride) * per_location for stride in STRIDES]
    centers, sizes = torch.rand(2, count, sum(counts), 2, generator=generator) * torch.tensor([width, height])
    boxes = torch.cat((centers - sizes / 4, centers + sizes / 4), dim=-1)
    scores, class_scores = torch.rand(2, count, sum(counts), CLASSES, generator=generator) ** 3
    scores[:, ::7] = 0
    return boxes, scores, class_scores, counts


def run(session, height: int, width: int, **raw: torch.Tensor) -> list[np.ndarray]:
    images = np.zeros((len(raw["all_boxes"]), 3, height, width), np.float32)
    wanted = {entry.name for entry in session.get_inputs()} - {"images"}
    return session.run(
        ["boxes", "scores", "labels", "image"], {"images": images} | {name: raw[name].numpy() for name in wanted}
    )


@pytest.mark.parametrize("opset", [18, 25])
@pytest.mark.parametrize(
    "postprocess",
    [
        Postprocess(),
        Postprocess(score_threshold=0.3, topk_per_level=20, nms_iou=0.3, max_detections=7),
        Postprocess(score_threshold=0.0, topk_per_level=10**6, max_detections=10**6),
        Postprocess(score_threshold=0.99999),
        Postprocess(rank_by="class"),
        Postprocess(score_threshold=0.3, topk_per_level=20, nms_iou=0.3, max_detections=7, rank_by="class"),
        Postprocess(score_threshold=0.0, topk_per_level=10**6, max_detections=10**6, rank_by="class"),
    ],
    ids=["default", "strict", "everything", "nothing", "by class", "strict by class", "everything by class"],
)
def test_equals_postprocess_for_any_batch_and_size(postprocess: Postprocess, opset: int):
    session = session_for(postprocess, opset)
    for count, height, width in ((1, 64, 96), (3, 96, 32)):
        boxes, scores, class_scores, counts = crowded(count, height, width)
        found_boxes, found_scores, found_labels, image = run(
            session, height, width, all_boxes=boxes, all_scores=scores, all_class_scores=class_scores
        )
        assert (np.diff(image) >= 0).all()
        for row in range(count):
            expected = postprocess.select(scores[row], boxes[row], counts, class_scores[row])
            mine = image == row
            np.testing.assert_array_equal(found_scores[mine], expected.scores)
            np.testing.assert_array_equal(found_boxes[mine], expected.boxes)
            np.testing.assert_array_equal(found_labels[mine], expected.labels)


@pytest.mark.parametrize("per_location", [1, 3])
def test_boxes_are_clipped_before_nms_and_points_may_have_several_anchors(per_location: int):
    postprocess = Postprocess(score_threshold=0.3, topk_per_level=20, nms_iou=0.3, clip=True)
    session = session_for(postprocess, per_location=per_location)
    boxes, scores, _, counts = crowded(1, 64, 96, per_location)
    boxes = boxes * 1.5 - 20
    found = run(session, 64, 96, all_boxes=boxes, all_scores=scores)
    expected = postprocess.select(scores[0], boxes[0], counts, size=(64, 96))
    for ours, theirs in zip(found, (expected.boxes, expected.scores, expected.labels), strict=False):
        np.testing.assert_array_equal(ours, theirs)
    late = Postprocess(score_threshold=0.3, topk_per_level=20, nms_iou=0.3).select(scores[0], boxes[0], counts)
    assert late.scores.tolist() != expected.scores.tolist()


def test_nothing_above_the_threshold_gives_empty_outputs():
    boxes, scores, _, _ = crowded(2, 64, 64)
    found_boxes, *others = run(session_for(Postprocess()), 64, 64, all_boxes=boxes, all_scores=scores * 0)
    assert found_boxes.shape == (0, 4)
    assert all(output.shape == (0,) for output in others)
