"""Sinkhorn-Knopp iterations for many small problems, each with a background supplier that reaches everybody.

The problem of an image has suppliers i (the objects) and one more, the background, that can reach every demander j at
cost 0: costs are relative to it. A supplier reaches only the demanders in its row of the table, and a demander that no
supplier reaches gets everything from the background, so it enters by its number alone. Every iterate is that of the
dense problem (Cuturi, 2013; the updates of the OTA paper's Algorithm 1). What is computed, in six lines:

    cost = torch.cat((dense_cost, zeros))              # (G + 1, A); the last row is the background's
    u, v = ones(G + 1), ones(A)
    for _ in range(iterations):
        v = -eps * torch.logsumexp((u[:, None] - cost) / eps, 0)
        u = eps * (supply.log() - torch.logsumexp((v - cost) / eps, 1))
    plan = ((u[:, None] + v - cost) / eps).exp()

With `scale_i = exp((u_i - u_bg) / eps)` and `kernel_ij = exp(-c_ij / eps)` these updates become

    odds_j     = sum_i scale_i kernel_ij       v_j   = -eps log(1 + odds_j) - u_bg
    leftover_j = 1 / (1 + odds_j)              (the part of a demand that is left to the background)
    row_i      = sum_j kernel_ij leftover_j    u_i   = eps log(k_i / row_i) + u_bg
    total      = sum_j leftover_j              u_bg <- eps log(s_bg / total) + u_bg

so an iteration is a few products and sums and no logarithm. float64 gives the range that the log domain is used for
otherwise: rows are scaled so that only costs 100 (eps = 0.1) above the cheapest of a row can vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import on_host


@dataclass(frozen=True)
class Plan:
    """The transport plan of a batch."""

    mass: Tensor
    """(P,) transported from supplier to demander."""
    background: Tensor
    """(N, U) transported from the background to each demander that some supplier may reach."""
    untouched: Tensor
    """(N,) what the background transports to a demander that nobody else reaches."""


def sinkhorn(
    cost: Tensor,
    supplier: Tensor,
    demander: Tensor,
    supply: Tensor,
    num_used: int,
    num_demanders: int,
    eps: float = 0.1,
    iterations: int = 50,
    tolerance: float | None = None,
) -> Plan:
    """Solve N independent problems at once, demanders first, from `u = v = const`.

    The background supplies what the suppliers do not. If their supplies exceed the number of demanders, its part of the
    plan is 0 and the plan stays finite.

    Args:
        cost: (P,) of each pair, relative to the background's; infinite where a pair is padding.
        supplier: (P,) int64 the pair's place in `supply.flatten()`, ascending.
        demander: (P,) int64 the pair's place among the N * U demanders that some supplier may reach.
        supply: (N, G), 0 for a supplier that does not exist.
        num_used: U.
        num_demanders: all demanders of a problem, reached or not.
        eps: the regularisation, gamma in the paper.
        iterations: at most so many.
        tolerance: end when no `u_i` moves by more; to see that forces a sync every ten iterations.
    """
    kernel, scale = _scaled_kernel(cost, supplier, supply.shape, eps)
    smallest, largest = torch.finfo(cost.dtype).tiny, math.exp(0.95 * _log_range(cost.dtype) - _top(cost.dtype))
    scale.clamp_(max=largest)
    remaining = num_demanders - supply.sum(1, keepdim=True)
    background_supply = remaining.clamp(min=1)
    ratio = supply / background_supply
    # A demander that nobody reaches has a leftover of 1.
    ratio_of_unused = ratio * (num_demanders - num_used)
    leftover = kernel.new_empty(len(supply), num_used)
    leftover_of_used, mass = torch.empty_like(background_supply), torch.empty_like(kernel)
    flat_scale, flat_leftover = scale.view(-1), leftover.view(-1)
    sum_rows = _row_sums(supplier, supply.numel(), smallest)
    for iteration in range(iterations):
        # The demanders' update; `mass` is scratch until the row update.
        torch.index_select(flat_scale, 0, supplier, out=mass).mul_(kernel)
        flat_leftover.fill_(1).scatter_add_(0, demander, mass).reciprocal_()
        # The suppliers' update, with that of the background: scale = supply / background_supply * total / row.
        torch.index_select(flat_leftover, 0, demander, out=mass).mul_(kernel)
        row = sum_rows(mass)
        torch.sum(leftover, 1, keepdim=True, out=leftover_of_used)
        previous = scale.clone() if tolerance is not None and iteration % 10 == 9 else None
        torch.addcmul(ratio_of_unused, ratio, leftover_of_used, out=scale)
        flat_scale.div_(row).clamp_max_(largest)
        if previous is not None and tolerance is not None and _has_settled(previous, scale, eps, tolerance):
            break
    total = leftover_of_used + (num_demanders - num_used)
    # After the suppliers' update each has handed out its whole supply.
    background_scale = background_supply / total * (remaining > 0)
    mass *= (supply.view(-1) / row)[supplier]
    return Plan(mass, leftover * background_scale, background_scale.squeeze(1))


def _scaled_kernel(cost: Tensor, supplier: Tensor, size: torch.Size, eps: float) -> tuple[Tensor, Tensor]:
    """exp(-cost / eps) (P,), scaled so that a supplier's best is near the top of the number range, and the `scale`
    (N, G) at which u = v."""
    top = _top(cost.dtype)
    exponent = cost / -eps
    best = exponent.new_full((size.numel(),), -2 * top).scatter_reduce_(0, supplier, exponent, "amax")
    return torch.exp(exponent - (best - top)[supplier]), torch.exp(best - top).view(size)


def _row_sums(supplier: Tensor, count: int, least: float) -> Callable[[Tensor], Tensor]:
    """A function (P,) -> (count,): the sum of each supplier's pairs, plus `least`."""
    if not on_host(supplier):
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
