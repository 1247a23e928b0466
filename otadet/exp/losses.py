"""Parts that build losses: what the families of detectors are trained with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from otadet.assigners import Assigner
from otadet.errors import UserError
from otadet.exp.families import Quality
from otadet.limits import Limits
from otadet.losses import (
    BCE,
    ClassLoss,
    DetectionLoss,
    FocalLoss,
    FreeAnchorLoss,
    YOLOXLoss,
    centerness_target,
    iou_target,
)
from otadet.part import Part

Branch = Quality | Literal["objectness"]
"""What an auxiliary branch of a network of any family predicts; None: there is no branch."""
_WEIGHT = Limits(0, 1e6)
_NO_RULE = "assigner none: this loss needs a rule that assigns labels, such as ota"


@dataclass(frozen=True)
class FocalGIoU(Part):
    """A class loss, the focal one by default, GIoU on the boxes, cross entropy on the quality: see `DetectionLoss`."""

    box_weight: Annotated[float, Limits(0, 1e6, open_low=True)] = 2.0
    quality_weight: Annotated[float, _WEIGHT] | None = None
    """Of the auxiliary branch; None: 1 for centre-ness, as in FCOS and ATSS, else 0.5."""
    box_weighting: Literal["auto", "none", "quality"] = "auto"
    """"quality": boxes count by the target of their quality; "none": all alike; "auto": "quality" for centre-ness."""
    class_loss: ClassLoss = field(default_factory=FocalLoss)
    """`class_loss focal`, `qfl`, `vfl`, `mal` or `bce`; all but the first are made for scores, as `dsla` gives them."""

    def build(self, assigner: Assigner | None, quality: Branch) -> DetectionLoss:
        """The loss of a network with that auxiliary branch. Raises `UserError` where the two contradict each other."""
        if assigner is None:
            raise UserError(_NO_RULE)
        if quality == "objectness":
            raise UserError("loss FocalGIoU has no place for an objectness, as the model has it: set loss bce_iou")
        if quality is None and (self.quality_weight is not None or self.box_weighting == "quality"):
            raise UserError(
                f"loss.quality_weight {self.quality_weight}, loss.box_weighting {self.box_weighting}: the model has no "
                "quality branch (model.quality none); set loss.quality_weight none and loss.box_weighting none"
            )
        is_centerness = quality == "centerness"
        default = 1.0 if is_centerness else 0.5
        is_weighted = is_centerness if self.box_weighting == "auto" else self.box_weighting == "quality"
        return DetectionLoss(
            assigner,
            class_loss=self.class_loss,
            box_weight=self.box_weight,
            quality_weight=default if self.quality_weight is None else self.quality_weight,
            quality_target=centerness_target if is_centerness else iou_target,
            box_weighting="quality" if is_weighted else "none",
        )


@dataclass(frozen=True)
class BCEIoU(Part):
    """Class loss, objectness, IoU loss, L1 in the last part of the training: see `YOLOXLoss`."""

    box_weight: Annotated[float, Limits(0, 1e6, open_low=True)] = 5.0
    l1_from: Annotated[float, Limits(0, 1)] = 0.95
    """Share of the training, 0-1, from which on the L1 distance of the boxes is added; 1: never."""
    class_loss: ClassLoss = field(default_factory=BCE)
    """Of positive anchors: `class_loss bce`, as in YOLOX, `focal`, `qfl`, `vfl` or `mal`."""

    def build(self, assigner: Assigner | None, quality: Branch) -> YOLOXLoss:
        """The loss. Raises `UserError` without a rule, or for a network without an objectness."""
        if assigner is None:
            raise UserError(_NO_RULE)
        if quality != "objectness":
            raise UserError("loss BCEIoU trains an objectness, which the model does not have: set loss focal_giou")
        return YOLOXLoss(assigner, self.box_weight, self.l1_from, self.class_loss)


@dataclass(frozen=True)
class FreeAnchor(Part):
    """FreeAnchor (Zhang et al., 2019), which learns what to match: an experiment with it has `assigner = None`."""

    bag_size: Annotated[int, Limits(0, 10**6, open_low=True)] = 50
    """Anchors that may answer for one object."""
    threshold: Annotated[float, Limits(0, 1, open_high=True)] = 0.6
    """IoU up to which an anchor counts as background."""
    alpha: Annotated[float, Limits(0, 1)] = 0.5
    """Share of the positive bags in the loss."""
    gamma: Annotated[float, Limits(0, 100)] = 2.0
    """Exponent of the focal loss of the background."""
    box_weight: Annotated[float, _WEIGHT] = 0.75

    def build(self, assigner: Assigner | None, quality: Branch) -> FreeAnchorLoss:
        """The loss. Raises `UserError` where there is an assigner, or a branch that would not be trained as it says."""
        if assigner is not None:
            raise UserError(f"loss FreeAnchor matches by itself, without {type(assigner).__name__}: set assigner none")
        if quality == "centerness":
            raise UserError(
                "model.quality centerness: FreeAnchor trains the branch as an objectness; choose iou or none"
            )
        return FreeAnchorLoss(self.bag_size, self.threshold, self.alpha, self.gamma, self.box_weight)
