"""The training step never waits for the device and leaves no tensor on the wrong one: fake CUDA raises on both."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from otadet.assigners import (
    Assigner,
    ATSSAssigner,
    FCOSAssigner,
    OTAAssigner,
    SimOTAAssigner,
    TaskAlignedAssigner,
)
from otadet.losses import DetectionLoss
from otadet.models import FPN, Detector, FCOSHead, build_resnet
from otadet.models.normalize import PixelNorm
from otadet.structures import GroundTruth

ASSIGNERS = {
    "ota": OTAAssigner(),
    "simota": SimOTAAssigner(),
    "yolox": SimOTAAssigner.yolox(),
    "atss": ATSSAssigner(),
    "fcos": FCOSAssigner(),
    "tal": TaskAlignedAssigner(),
    "tal of the YOLOs": TaskAlignedAssigner.yolo(),
}


@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
@pytest.mark.parametrize("sizes", [(3, 0, 5), (0, 0, 0)], ids=str)
def test_network_assigner_and_loss_on_fake_cuda(assigner: Assigner, sizes: tuple[int, ...]) -> None:
    with FakeTensorMode():
        with torch.device("cuda"):
            backbone = build_resnet(18, None)
            model = Detector(backbone, FPN(backbone.channels, backbone.strides, 64), FCOSHead(4, 64, 2, levels=5))
            truths = [GroundTruth(torch.rand(size, 4), torch.zeros(size, dtype=torch.int64)) for size in sizes]
        normalize = PixelNorm((124.0, 116.0, 104.0), (58.0, 57.0, 57.0)).to("cuda")
        images = torch.zeros(len(sizes), 3, 128, 192, dtype=torch.uint8, device="cuda")
        losses = DetectionLoss(assigner)(*model(normalize(images)), truths)
        assert set(losses) == {"cls", "box", "quality"}
        for loss in losses.values():
            assert (loss.device.type, loss.dtype, loss.shape, loss.requires_grad) == ("cuda", torch.float32, (), True)


def test_fake_cuda_notices_a_wait_and_a_wrong_device() -> None:
    """Or the test above would prove nothing."""
    with FakeTensorMode():
        tensor = torch.zeros(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            tensor.sum().item()
        with pytest.raises(RuntimeError, match="device"):
            tensor + torch.zeros(3)
