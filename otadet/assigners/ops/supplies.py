"""How many labels each box supplies."""

from __future__ import annotations

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.pairs import Pairs


def dynamic_k(ious: Tensor, top_q: int) -> Tensor:
    """(N, G, K) IoUs -> (N, G): `max(1, floor(sum of the top q))` (Sec. 3.3)."""
    best = ious.topk(min(top_q, ious.shape[-1]), dim=-1, sorted=False).values
    return best.sum(-1).floor().clamp(min=1)


def supplies(ious: Tensor, truth: PaddedTruth, pairs: Pairs, k: int | None, top_q: int) -> Tensor:
    """(N, G) labels that each box supplies: the fixed `k`, else dynamic k from the (P,) IoUs; 0 where no box is."""
    supply = dynamic_k(pairs.table(ious, 0.0), top_q) if k is None else torch.full_like(truth.boxes[..., 0], k)
    return torch.where(truth.valid, supply, 0)
