"""On a GPU no assigner here waits for the device or mixes devices: fake CUDA tensors refuse both."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import Assigner, DSLAAssigner, OTAAssigner, SimOTAAssigner, TaskAlignedAssigner
from otadet.assigners.ops.costs import BCECost, GIoUCost
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from tests.helpers.counting import assigned_on_fake_cuda, count_operations, fake_problem

ASSIGNERS = {
    "ota window": OTAAssigner(),
    "ota nearest": OTAAssigner(prior="nearest"),
    "ota none": OTAAssigner(prior="none"),
    "ota fixed k": OTAAssigner(k=10),
    "ota other costs": OTAAssigner(class_cost=BCECost(), box_cost=GIoUCost()),
    "ota of rtmdet": OTAAssigner(cost=OTACost.rtmdet()),
    "ota of detr": OTAAssigner(cost=DETRCost()),
    "dsla": DSLAAssigner(),
    "tal soft": TaskAlignedAssigner(soft=True),
    "simota": SimOTAAssigner(),
    "simota nearest": SimOTAAssigner(prior="nearest"),
    "simota none": SimOTAAssigner(prior="none"),
    "yolox": SimOTAAssigner.yolox(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
def test_does_not_wait_for_the_device(assigner: Assigner, dtype: torch.dtype) -> None:
    assigned_on_fake_cuda(assigner, dtype)


@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
def test_a_batch_of_empty_images(assigner: Assigner) -> None:
    with FakeTensorMode():
        assignment = assigner(*fake_problem([0, 0]))
    assert assignment.gt_index.device.type == "cuda"


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": "window"},
        {"prior": "nearest"},
        {"prior": "none"},
        {"k": 10},
        {"ambiguity": "min_area"},
        {"ambiguity": "max_iou"},
        {"ambiguity": "min_loss"},
        {"class_cost": BCECost()},
        {"box_cost": GIoUCost()},
    ],
    ids=str,
)
def test_launches_depend_neither_on_the_images_nor_on_the_boxes(settings: dict) -> None:
    def launches(sizes: list[int], num_classes: int) -> int:
        with FakeTensorMode():
            problem = fake_problem(sizes, num_classes=num_classes)
            return count_operations(lambda: OTAAssigner(**settings, iterations=5)(*problem))

    assert launches([7], 80) == launches([100], 80) == launches([25] * 16, 80) == launches([200], 1)
