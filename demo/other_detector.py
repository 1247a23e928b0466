"""OTA in a detector that is not ours: torchvision's FCOS, which keeps its network, its loss and its training loop.

python demo/other_detector.py

Only the method that matches anchors to boxes is replaced; the network learns three boxes by heart as a sign of life.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from otadet.assigners import Assigner, OTAAssigner
from otadet.command_line import Parser
from otadet.structures import Anchors, GroundTruth, Predictions


class AssignedFCOS(FCOS):
    """torchvision's FCOS with the labels of any otadet assigner."""

    def __init__(self, *args, assigner: Assigner, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.assigner = assigner
        self.backbone.register_forward_hook(self._note_level_sizes)

    def _note_level_sizes(self, module: torch.nn.Module, inputs: tuple, features: dict[str, Tensor]) -> None:
        self.level_sizes = tuple((feature.shape[-2], feature.shape[-1]) for feature in features.values())

    def compute_loss(
        self, targets: list[dict], head_outputs: dict, anchors: list[Tensor], num_anchors_per_level: list[int]
    ) -> dict[str, Tensor]:
        boxes = [
            self.box_coder.decode(deltas, squares)
            for deltas, squares in zip(head_outputs["bbox_regression"], anchors, strict=True)
        ]
        predictions = Predictions(head_outputs["cls_logits"], torch.stack(boxes))
        squares = anchors[0]
        # torchvision's anchor at a location is as large as the stride.
        strides = squares[:, 2] - squares[:, 0]
        grid = Anchors((squares[:, :2] + squares[:, 2:]) / 2, squares, strides, self.level_sizes)
        truths = [GroundTruth(target["boxes"], target["labels"]) for target in targets]
        assignment = self.assigner(predictions, grid, truths)
        return self.head.compute_loss(targets, head_outputs, anchors, list(assignment.gt_index))


def main() -> None:
    Parser(description=__doc__).parse_args()
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=[2, 3, 4]
    )
    backbone.out_channels = 256
    model = AssignedFCOS(backbone, num_classes=3, min_size=128, max_size=128, assigner=OTAAssigner(), **anchors_for(4))
    images = [torch.rand(3, 128, 128)]
    boxes = torch.tensor([[10.0, 12.0, 60.0, 70.0], [50.0, 40.0, 110.0, 90.0], [80.0, 85.0, 120.0, 125.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([0, 1, 2])}]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for step in range(20):
        losses = model(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        print(step, ", ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))


def anchors_for(levels: int) -> dict:
    """torchvision's own choice for FCOS, one square per location, for a pyramid of so many levels from stride 8."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((8 * 2**level,) for level in range(levels))
    return {"anchor_generator": AnchorGenerator(sizes, ((1.0,),) * levels)}


if __name__ == "__main__":
    main()
