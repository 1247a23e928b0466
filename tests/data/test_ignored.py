"""Crowds of an annotation file, on their way to the loss."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from otadet.assigners import OTAAssigner
from otadet.data.dataset import DetectionDataset
from otadet.data.loader import train_loader
from otadet.data.transforms import Compose, RandomFlip, ResizeShortestEdge
from otadet.losses.detection import DetectionLoss
from otadet.models import AnchorGrid
from otadet.structures import BACKGROUND, IGNORED, GroundTruth, Predictions
from tests.helpers.coco import coco_dataset

STRIDES = (8, 16)


@pytest.fixture
def dataset(tmp_path) -> DetectionDataset:
    """Three images of 96 x 64 pixels, the second with a crowd around its object, the third without any crowd."""
    for name in range(3):
        Image.new("RGB", (96, 64)).save(tmp_path / f"{name}.png")
    boxes = [(0, [4, 4, 30, 30], 0), (0, [50, 0, 46, 64], 1), (1, [20, 10, 24, 40], 0), (1, [0, 0, 60, 64], 1)]
    boxes += [(2, [8, 8, 20, 20], 0)]
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 64} for n in range(3)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": 1, "bbox": box, "iscrowd": crowd}
            for n, (image, box, crowd) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "sheep"}],
    }
    (tmp_path / "sheep.json").write_text(json.dumps(content))
    return coco_dataset(tmp_path / "sheep.json", tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_points_in_a_crowd_are_ignored_unless_an_object_has_them(dataset, workers):
    transform = Compose((RandomFlip(0.5, 0.5), ResizeShortestEdge((64, 80), 120)))
    options = {"pad_value": (0, 0, 0), "size_divisor": 16, "workers": workers}
    for batch in train_loader(dataset, transform, batch_size=3, iterations=4, **options):
        anchors = AnchorGrid(STRIDES)(
            [torch.empty(1, 1, *(side // s for side in batch.images.shape[2:])) for s in STRIDES]
        )
        boxes = anchors.boxes.expand(3, -1, 4).contiguous()
        predictions = Predictions(torch.zeros(3, len(anchors.points), 1).requires_grad_(), boxes)
        found = OTAAssigner()(predictions, anchors, batch.truths).gt_index
        without = [GroundTruth(truth.boxes, truth.labels) for truth in batch.truths]
        plain = OTAAssigner()(predictions, anchors, without).gt_index
        for row, truth in enumerate(batch.truths):
            points, regions = anchors.points[:, None], truth.ignored
            inside = ((points > regions[:, :2]) & (points < regions[:, 2:])).all(-1).any(-1)
            expected = torch.where(inside & (plain[row] == BACKGROUND), IGNORED, plain[row])
            # Points on an edge are of either kind.
            on_edge = ((points == regions[:, :2]) | (points == regions[:, 2:])).any(-1).any(-1)
            assert torch.equal(found[row][~on_edge], expected[~on_edge])
            assert (found[row] == IGNORED).any() == (batch.image_ids[row] != 2)
            assert (found[row] >= 0).any()
        DetectionLoss(OTAAssigner())(predictions, anchors, batch.truths)["cls"].backward()
        assert torch.equal(predictions.logits.grad[..., 0] == 0, found == IGNORED)


def test_the_file_says_what_is_ignored(dataset):
    assert dataset.sample(1).ignored.tolist() == [[0, 0, 60, 64]]
    assert [len(dataset.sample(n).ignored) for n in range(3)] == [1, 1, 0]
    assert np.dtype(np.float32) == dataset.sample(2).ignored.dtype
    assert (dataset.counts.boxes, dataset.counts.ignored) == (3, 2)
