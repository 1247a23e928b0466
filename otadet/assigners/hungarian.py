"""One anchor per object, at the least total cost: the matching of DETR (Carion et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.chunks import PAIRS_AT_ONCE
from otadet.assigners.ops.pair_costs import DETRCost, PairCost
from otadet.assigners.ops.values import PairValues
from otadet.boxes import iou
from otadet.errors import UserError
from otadet.structures import BACKGROUND, Anchors, Assignment, Predictions

NAN_COST = 1e9
"""The cost of a pair whose prediction is not a number, and the largest cost."""


@dataclass(frozen=True)
class HungarianAssigner(Assigner):
    """Each box gets one anchor, so that the sum of the costs is least.

    1. Candidates: every anchor for every box.
    2. The `cost` of a pair is that of the anchor as this box, less that of background.
    3. Each box gets one anchor and no anchor two boxes, with the least total cost.

    An image with more boxes than anchors leaves boxes without one. Ambiguous is an anchor that is the cheapest of two
    or more boxes. The matching runs on the CPU, with SciPy: it waits for the device. A call raises `UserError` where
    SciPy is missing.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 4)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 16, 8], [0.0, 0, 14, 8]]), torch.tensor([0, 0]))

    Both boxes fit the prediction of point 1 best. The second gives way, as that of point 2 fits it nearly as well:

    >>> predicted = torch.tensor([[0.0, 0, 4, 8], [0, 0, 15, 8], [0, 0, 12, 8], [30, 0, 32, 8]])
    >>> assignment = HungarianAssigner()(Predictions(torch.zeros(1, 4, 1), predicted[None]), anchors, [truth])
    >>> assignment.gt_index, assignment.ambiguous
    (tensor([[-1,  0,  1, -1]]), tensor([[False,  True, False, False]]))
    """

    gives_scores = False

    cost: PairCost = field(default_factory=DETRCost)
    """What an anchor costs as a box's."""

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        gt_index = torch.full(predictions.boxes.shape[:2], BACKGROUND)
        wanted = torch.zeros(gt_index.shape, dtype=torch.int32)
        for image, count in enumerate(truth.valid.sum(1).tolist()):
            if count == 0:
                continue
            cost, anchor = (part.cpu() for part in self._cheapest(predictions, anchors, truth, image, count))
            box, place = match(cost.numpy(), anchor.numpy())
            gt_index[image, anchor[box, place]] = torch.from_numpy(box).long()
            wanted[image].index_add_(0, anchor[:, 0], torch.ones(count, dtype=torch.int32))
        device = predictions.boxes.device
        return Assignment(gt_index.to(device), (wanted > 1).to(device))

    def _cheapest(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, image: int, count: int
    ) -> tuple[Tensor, Tensor]:
        """(G, k) costs, ascending, and anchors of the `count` boxes of an image.

        k is `count`, or A where that is less: the other boxes can take all but one of so many.
        """
        num_anchors = len(anchors.points)
        # In memory one coordinate of all boxes after the other: these tables are large.
        boxes = predictions.boxes[image].float().T.contiguous().T
        quality = None if predictions.quality is None else predictions.quality[image].float()
        every_anchor, found = torch.arange(num_anchors, device=boxes.device), []
        for part in torch.arange(count, device=boxes.device).split(max(1, PAIRS_AT_ONCE // num_anchors)):
            gt_boxes = truth.boxes[image, part, None].float()
            logits = predictions.logits[image].index_select(1, truth.labels[image, part]).T.float()
            values = PairValues(logits, quality, boxes, gt_boxes, iou(boxes, gt_boxes), every_anchor, anchors)
            cost = self.cost(values).nan_to_num_(NAN_COST, NAN_COST, -NAN_COST).clamp_(-NAN_COST, NAN_COST)
            found.append(cost.topk(min(count, num_anchors), largest=False))
        return torch.cat([best.values for best in found]), torch.cat([best.indices for best in found])


def match(cost: np.ndarray, anchor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match each of G boxes with one of its k anchors: (G, k), (G, k) -> boxes, and the places of theirs in their rows.

    An anchor that is not in a box's row is out of its reach. Raises `UserError` where SciPy is missing.
    """
    try:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    except ImportError as error:
        raise UserError(
            "scipy is not installed, and the Hungarian matching needs it: pip install otadet[matching]"
        ) from error
    columns, column = np.unique(anchor, return_inverse=True)
    column = column.reshape(anchor.shape)
    # A weight of 0 would be no edge; the same for all pairs, a constant changes no matching.
    weight = cost - cost.min() + 1
    start = np.arange(len(cost) + 1) * cost.shape[1]
    graph = csr_array((weight.ravel(), column.ravel(), start), shape=(len(cost), len(columns)))
    box, matched = min_weight_full_bipartite_matching(graph)
    return box, (column[box] == matched[:, None]).argmax(1)
