"""What anchors cost as background: the class costs of all their logits against zeros."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import MAX_COST, limit_, on_host
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.used import number_used_anchors
from otadet.structures import Predictions

CHUNK = 1 << 17
"""Logits that `BackgroundCosts` looks at in one go, on a CPU."""

NegativeCost = Callable[[Tensor, Tensor | None], Tensor]
"""`ClassCost.negative`, or that of a `PairCost`: logits, quality -> loss against the target 0."""


class BackgroundCosts:
    """`c_bg,j` (Eq. 3), the loss of all of an anchor's logits against zeros, computed once per anchor.

    On a CPU only for the anchors that are asked for; on an accelerator for all, as finding out which would force a
    sync. Some anchors at a time, so that it needs less memory than the logits.
    """

    def __init__(self, predictions: Predictions, negative: NegativeCost) -> None:
        self._logits = predictions.logits.reshape(-1, predictions.logits.shape[-1])
        self._quality = quality = None if predictions.quality is None else predictions.quality.reshape(-1, 1)
        self._negative = negative
        self._known = self._logits.new_full((len(self._logits),), torch.nan, dtype=torch.float32)
        self._is_fresh = True
        if not on_host(self._logits):
            step = max(1, max(CHUNK, self._logits.numel() // 16) // self._logits.shape[1])
            for start in range(0, len(self._logits), step):
                part = slice(start, start + step)
                self._known[part] = self._cost(self._logits[part], None if quality is None else quality[part])

    def at(self, pairs: Pairs) -> Tensor:
        """(P,) in float32."""
        if on_host(self._known):
            unknown = number_used_anchors(pairs).anchor_rows(pairs)
            if not self._is_fresh:
                unknown = unknown[self._known[unknown].isnan()]
            self._is_fresh = False
            for part in unknown.split(max(1, CHUNK // self._logits.shape[1])):
                quality = None if self._quality is None else self._quality.index_select(0, part)
                self._known.index_copy_(0, part, self._cost(self._logits.index_select(0, part), quality))
        return self._known.index_select(0, pairs.anchor_row)

    def _cost(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """(., C), (., 1) -> (.,)"""
        quality = None if quality is None else quality.float()
        return limit_(self._negative(logits.float(), quality).sum(-1), MAX_COST)
