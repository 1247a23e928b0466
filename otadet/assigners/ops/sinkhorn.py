"""Sinkhorn-Knopp iterations for many small problems, each with a background supplier that reaches everybody.

The problem of an image has suppliers i (the objects) and one more, the background, that can reach every demander j at
cost 0: costs are relative to it. A supplier reaches only the demanders in its row of the table, and a demander that no
supplier reaches gets everything from the background, so it enters by its number alone. Every iterate is that of the
dense problem (Cuturi, 2013; the updates of the OTA paper's Algorithm 1).

With `a_i = exp((u_i - u_bg) / eps)` and `kernel_ij = exp(-c_ij / eps)` the log-domain updates become

    odds_j   = sum_i a_i kernel_ij                          v_j   = -eps log(1 + odds_j) - u_bg
    row_i    = sum_j kernel_ij / (1 + odds_j)               u_i   = eps log(k_i / row_i) + u_bg
    total    = sum_j 1 / (1 + odds_j)  over all demanders   u_bg <- eps log(s_bg / total) + u_bg

so an iteration is a few products and sums and no logarithm. float64 gives the range that the log domain is used for
otherwise: rows are scaled so that only costs 100 (eps = 0.1) above the cheapest of a row can vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import can_look


@dataclass(frozen=True)
class Plan:
    """The transport plan of a batch."""

    mass: Tensor
    """(P,) transported from supplier to demander."""
    background: Tensor
    """(N, B) transported from the background to each column."""
    untouched: Tensor
    """(N,) what the background transports to a demander that nobody else reaches."""


def sinkhorn(
    cost: Tensor,
    supplier: Tensor,
    demander: Tensor,
    supply: Tensor,
    num_columns: int,
    num_demanders: int,
    eps: float = 0.1,
    iterations: int = 50,
    tolerance: float | None = None,
) -> Plan:
    """Solve N independent problems at once, demanders first, from `u = v = const`.

    cost: (P,) of each pair, relative to the background's; infinite where a pair is padding. supplier, demander: (P,)
    int64 the pair's place in `supply.flatten()`, ascending, and among the N * B columns. supply: (N, G), 0 for a
    supplier that does not exist. num_columns: B; num_demanders: all of an image. The background supplies what is left
    of them; where the objects ask for more than there is, it has nothing in the plan, which is finite all the same.
    With `tolerance` the iterations end when no `u_i` moves by more; to see that costs a wait for the device every ten
    iterations.
    """
    kernel, scale = _scaled_kernel(cost, supplier, supply.shape, eps)
    smallest, largest = torch.finfo(cost.dtype).tiny, math.exp(0.95 * _log_range(cost.dtype) - _top(cost.dtype))
    scale.clamp_(max=largest)
    left_over = num_demanders - supply.sum(1, keepdim=True)
    background_supply = left_over.clamp(min=1)
    ratio = supply / background_supply
    ratio_outside = ratio * (num_demanders - num_columns)
    rest = kernel.new_empty(len(supply), num_columns)
    covered, mass = torch.empty_like(left_over), torch.empty_like(kernel)
    flat_scale, flat_rest = scale.view(-1), rest.view(-1)
    sum_rows = _row_sums(supplier, supply.numel(), smallest)
    for iteration in range(iterations):
        # The column update: rest = 1 / (1 + odds), the part of a demand that is left to the background.
        torch.index_select(flat_scale, 0, supplier, out=mass).mul_(kernel)
        flat_rest.fill_(1).scatter_add_(0, demander, mass).reciprocal_()
        # The row update, of the objects and of the background.
        torch.index_select(flat_rest, 0, demander, out=mass).mul_(kernel)
        row = sum_rows(mass)
        torch.sum(rest, 1, keepdim=True, out=covered)
        checked = tolerance is not None and iteration % 10 == 9
        previous = scale.clone() if checked else scale
        torch.addcmul(ratio_outside, ratio, covered, out=scale)
        flat_scale.div_(row).clamp_max_(largest)
        if checked and _has_settled(previous, scale, eps, tolerance):
            break
    total = covered + (num_demanders - num_columns)
    # After the row update each object has handed out its whole supply.
    step = background_supply / total * (left_over > 0)
    return Plan(mass * (supply.view(-1) / row)[supplier], rest * step, step.squeeze(1))


def _scaled_kernel(cost: Tensor, supplier: Tensor, size: torch.Size, eps: float) -> tuple[Tensor, Tensor]:
    """exp(-cost / eps) (P,), scaled so that a supplier's best is near the top of the number range, and the scales `a`
    (N, G) that start u = v."""
    top = _top(cost.dtype)
    exponent = cost / -eps
    best = exponent.new_full((size.numel(),), -2 * top).scatter_reduce_(0, supplier, exponent, "amax")
    return torch.exp(exponent - (best - top)[supplier]), torch.exp(best - top).view(size)


def _row_sums(supplier: Tensor, count: int, least: float) -> Callable[[Tensor], Tensor]:
    """A function (P,) -> (count,) that adds up the pairs of each supplier, and `least`."""
    if not can_look(supplier):
        return lambda values: values.new_full((count,), least).index_add_(0, supplier, values)
    # On a CPU several times as fast as adding one number after the other to the same place.
    offsets = torch.searchsorted(supplier.contiguous(), torch.arange(count + 1))
    return lambda values: torch.segment_reduce(values, "sum", offsets=offsets, initial=least, unsafe=True)


def _log_range(dtype: torch.dtype) -> float:
    return math.log(torch.finfo(dtype).max)


def _top(dtype: torch.dtype) -> float:
    """Where in the number range the best of each kernel row is put: most of the room is needed below it."""
    return 0.4 * _log_range(dtype)


def _has_settled(previous: Tensor, scale: Tensor, eps: float, tolerance: float) -> bool:
    moved = (scale.log() - previous.log()).abs().nan_to_num(0.0) * eps
    return bool(moved.max() <= tolerance)
