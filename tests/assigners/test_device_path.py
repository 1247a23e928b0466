"""What runs on an accelerator, where no shape follows from values, gives what runs on a CPU: tried on a CPU."""

from __future__ import annotations

import sys

import pytest
import torch

from otadet.assigners import Assigner, FCOSAssigner, OTAAssigner, SimOTAAssigner, assigner_names, named_assigner
from otadet.assigners.ops.pair_costs import OTACost
from otadet.structures import GroundTruth
from tests.helpers.problems import late_predictions, make_anchors, random_problem

ASSIGNERS = {name: named_assigner(name) for name in assigner_names()} | {
    "yolox": SimOTAAssigner.yolox(),
    "ota of rtmdet": OTAAssigner(cost=OTACost.rtmdet()),
    "simota none": SimOTAAssigner(prior="none"),
    "fcos none": FCOSAssigner(radius=None),
    "ota after max iou": OTAAssigner(ambiguity="max_iou"),
}


@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
def test_gives_the_same(assigner: Assigner, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = make_anchors(256, 320)
    truths = [random_problem(generator, boxes, 4)[2][0] for boxes in (20, 3, 7)]
    predictions = late_predictions(generator, anchors, truths, 4)
    truths[1] = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    expected = assigner(predictions, anchors, truths)
    modules = [module for name, module in sys.modules.items() if name.startswith("otadet.assigners")]
    patched = [module for module in modules if hasattr(module, "on_host")]
    for module in patched:
        monkeypatch.setattr(module, "on_host", lambda tensor: False)
    assert len(patched) > 8
    found = assigner(predictions, anchors, truths)
    assert torch.equal(found.gt_index, expected.gt_index)
    assert torch.equal(found.ambiguous, expected.ambiguous)
    assert (found.score is None) == (expected.score is None)
    if expected.score is not None:
        torch.testing.assert_close(found.score, expected.score, rtol=1e-6, atol=1e-7)
