"""FreeAnchor: learning to match anchors (Zhang et al., 2019), a loss that needs no assigner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.ops.ignored import in_ignored_regions
from otadet.assigners.ops.inputs import are_valid, check_batch, check_objects, limited
from otadet.boxes import giou, iou
from otadet.losses.common import SummedLoss, Sums, in_float32
from otadet.structures import Anchors, GroundTruth, Predictions


class FreeAnchorLoss(SummedLoss):
    """Each object is a bag of the `bag_size` anchors whose boxes overlap it most; the network finds out which to train.

    "positive" (their Eq. 5): minus the logarithm of the mean-max over a bag of P_cls * P_loc, `alpha` times; its mean
    becomes a maximum as the best anchor gets better. "negative" (Eq. 6): focal loss of every class probability against
    0, weighted by 1 - P, where P rises linearly from 0 at an IoU of `threshold` to 1 at the object's best IoU. It is
    divided by `bag_size` times the number of objects, averaged over the ranks; without any object by 1, as in the
    released code. An anchor in no bag whose point lies in an ignored region is left out of it.

    P_cls is what detections are ranked by, class times quality if the network has such a branch, which is thereby
    trained as an objectness. P_loc is `exp(-box_weight * (1 - GIoU))`; their smooth L1 is of offsets from an anchor
    box, which a network that predicts boxes from points does not have.

    Args:
        bag_size: anchors per object.
        threshold: IoU of a predicted box, 0-1, up to which its anchor deserves no object.
        alpha: weight of "positive"; that of "negative" is 1 - alpha.
        gamma: exponent of the focal weight in "negative".
        box_weight: of the box loss in P_loc.
    """

    terms = ("positive", "negative")
    has_one_divisor = False

    def __init__(
        self,
        bag_size: int = 50,
        threshold: float = 0.6,
        alpha: float = 0.5,
        gamma: float = 2.0,
        box_weight: float = 0.75,
    ) -> None:
        super().__init__()
        self.bag_size, self.threshold = bag_size, threshold
        self.alpha, self.gamma = alpha, gamma
        self.box_weight = box_weight

    def divisors(self, amounts: Tensor) -> dict[str, Tensor]:
        number = amounts[0]
        return {"positive": number.clamp(min=1), "negative": (number * self.bag_size).clamp(min=1)}

    def sums(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Sums:
        """Terms "positive" and "negative".

        Divided, they are finite where the predictions are, and below 1e9. Raises `ValueError` as an `Assigner` does.
        """
        check_batch(predictions, anchors, truths)
        device = predictions.boxes.device
        with torch.autocast(device.type, enabled=False):
            predictions, objects = in_float32(predictions), _objects(truths, predictions)
            amounts = objects.valid.sum()[None]
            if predictions.logits.shape[1] == 0:
                return Sums({name: predictions.logits.sum() for name in self.terms}, amounts)
            bags, deserved = self._match(predictions, anchors, objects)
            positive = (self._positive(predictions, objects, bags) * objects.valid).sum()
            negative = self._negative(predictions, deserved, _ignored(anchors, truths, bags, objects))
            return Sums({"positive": self.alpha * positive, "negative": (1 - self.alpha) * negative}, amounts)

    @torch.no_grad()
    def _match(self, predictions: Predictions, anchors: Anchors, objects: _Objects) -> tuple[Tensor, Tensor]:
        """The bags (M, bag_size), rows of the batch's anchors, and (N, A, C) how far an anchor deserves a class, 0-1.

        A few objects at a time, so that this needs no more memory than the logits.
        """
        num_anchors, num_classes = predictions.logits.shape[1:]
        anchor_boxes, every_anchor = anchors.boxes.float(), torch.arange(num_anchors, device=objects.image.device)
        bags, deserved = [], torch.zeros_like(predictions.logits).flatten()
        at_once = max(1, predictions.logits.numel() // (16 * num_anchors))
        for part in torch.arange(len(objects.image), device=objects.image.device).split(at_once):
            image, boxes = objects.image[part, None], objects.boxes[part, None]
            best = iou(boxes, anchor_boxes).topk(min(self.bag_size, num_anchors), sorted=False).indices
            bags.append(best + image * num_anchors)
            ious = iou(boxes, predictions.boxes[image.squeeze(1)])
            # From the threshold up to the object's best.
            rise = (ious.amax(1, keepdim=True) - self.threshold).clamp(min=1e-6)
            share = ((ious - self.threshold) / rise).clamp(0, 1) * objects.valid[part, None]
            place = (image * num_anchors + every_anchor) * num_classes + objects.label[part, None]
            deserved.scatter_reduce_(0, place.flatten(), share.flatten(), "amax")
        return torch.cat(bags), deserved.view_as(predictions.logits)

    def _positive(self, predictions: Predictions, objects: _Objects, bags: Tensor) -> Tensor:
        """(M,) minus the logarithm of each bag's mean-max."""
        row, num_classes = bags.flatten(), predictions.logits.shape[-1]
        label = objects.label[:, None].expand_as(bags).flatten()
        probability = F.logsigmoid(predictions.logits.flatten()[row * num_classes + label])
        if predictions.quality is not None:
            probability = probability + F.logsigmoid(predictions.quality.flatten()[row])
        boxes = predictions.boxes.flatten(0, 1)[row].view(*bags.shape, 4)
        probability = probability.view_as(bags) - self.box_weight * (1 - giou(boxes, objects.boxes[:, None]))
        weight = -torch.log1p(-probability.exp().clamp(max=1 - 1e-6))
        return weight.logsumexp(1) - (probability + weight).logsumexp(1)

    def _negative(self, predictions: Predictions, deserved: Tensor, is_ignored: Tensor | None) -> Tensor:
        """The sum over all anchors but the ignored ones, (N, A) bool or None."""
        probability = predictions.logits.sigmoid()
        if predictions.quality is not None:
            probability = probability * predictions.quality.sigmoid()[..., None]
        probability = probability * (1 - deserved)
        if is_ignored is not None:
            probability = probability.masked_fill(is_ignored[..., None], 0.0)
        # What is not a number would be an error there; the other factor keeps it, for the guard of the training.
        known = probability.nan_to_num(0.0)
        entropy = F.binary_cross_entropy(known, torch.zeros_like(known), reduction="none")
        return (probability**self.gamma * entropy).sum()


@dataclass(frozen=True)
class _Objects:
    """The `M` objects of a batch."""

    image: Tensor
    """(M,) int64."""
    boxes: Tensor
    """(M, 4) xyxy pixels."""
    label: Tensor
    """(M,) int64 in [0, C)."""
    valid: Tensor
    """(M,) float32: 0 for an object that a check would have refused, had reading it not forced a sync."""


def _objects(truths: Sequence[GroundTruth], predictions: Predictions) -> _Objects:
    device, num_classes = predictions.boxes.device, predictions.logits.shape[-1]
    sizes = torch.tensor([len(truth.boxes) for truth in truths], dtype=torch.int64)
    total = sum(len(truth.boxes) for truth in truths)
    image = torch.arange(len(sizes)).repeat_interleave(sizes, output_size=total).to(device, non_blocking=True)
    boxes = torch.cat([torch.zeros(0, 4, device=device), *(truth.boxes.float() for truth in truths)])
    label = torch.cat([image[:0], *(truth.labels for truth in truths)])
    check_objects(boxes, label, num_classes, truths)
    valid = are_valid(boxes, label, num_classes).float()
    return _Objects(image, limited(boxes), label.clamp(0, max(0, num_classes - 1)), valid)


def _ignored(anchors: Anchors, truths: Sequence[GroundTruth], bags: Tensor, objects: _Objects) -> Tensor | None:
    """(N, A) bool: in an ignored region and in no bag; None where no image has a region."""
    in_region = in_ignored_regions(anchors, truths)
    if in_region is None:
        return None
    in_bag = torch.zeros(in_region.numel(), device=bags.device)
    in_bag.index_add_(0, bags.flatten(), objects.valid[:, None].expand_as(bags).flatten())
    return in_region & (in_bag.view_as(in_region) == 0)
