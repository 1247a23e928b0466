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
class Problem:
    """N independent problems, whose background supplies what the suppliers do not.

    If their supplies exceed the number of demanders, its part of the plan is 0 and the plan stays finite.
    """

    cost: Tensor
    """(P,) of each pair, relative to the background's; infinite where a pair is padding."""
    supplier: Tensor
    """(P,) int64 the pair's place in `supply.flatten()`, ascending."""
    demander: Tensor
    """(P,) int64 the pair's place among the N * U demanders that some supplier may reach."""
    supply: Tensor
    """(N, G), 0 for a supplier that does not exist."""
    num_used: int
    """U."""
    num_demanders: int
    """All demanders of a problem, reached or not."""

    @property
    def num_unused(self) -> int:
        """Demanders that no supplier may reach."""
        return self.num_demanders - self.num_used


@dataclass(frozen=True)
class Plan:
    """The transport plan of a batch."""

    mass: Tensor
    """(P,) transported from supplier to demander."""
    background: Tensor
    """(N, U) transported from the background to each demander that some supplier may reach."""
    untouched: Tensor
    """(N,) what the background transports to a demander that nobody else reaches."""


def sinkhorn(problem: Problem, eps: float = 0.1, iterations: int = 50, tolerance: float | None = None) -> Plan:
    """Solve N independent problems at once, demanders first, from `u = v = const`.

    Args:
        problem: the costs, and what there is to be had.
        eps: the regularisation, gamma in the paper.
        iterations: at most so many, at least 1.
        tolerance: end when no `u_i` moves by more; to see that forces a sync every ten iterations.
    """
    iterate = _Iterate(problem, eps)
    for iteration in range(iterations):
        iterate.update_demanders()
        previous = iterate.scale.clone() if tolerance is not None and iteration % 10 == 9 else None
        iterate.update_suppliers()
        if previous is not None and tolerance is not None and _has_settled(previous, iterate.scale, eps, tolerance):
            break
    return iterate.plan()


class _Iterate:
    """One iterate of all problems, updated in place by the head of this file's equations, in their names."""

    def __init__(self, problem: Problem, eps: float) -> None:
        cost, supply = problem.cost, problem.supply
        self._problem = problem
        self._largest = math.exp(0.95 * _log_range(cost.dtype) - _top(cost.dtype))
        self._kernel, self.scale = _scaled_kernel(cost, problem.supplier, supply.shape, eps)
        self.scale.clamp_(max=self._largest)
        self._remaining = problem.num_demanders - supply.sum(1, keepdim=True)
        self._background_supply = self._remaining.clamp(min=1)
        self._ratio = supply / self._background_supply
        # A demander that nobody reaches has a leftover of 1.
        self._ratio_of_unused = self._ratio * problem.num_unused
        self._leftover = self._kernel.new_empty(len(supply), problem.num_used)
        # Views that are made once: in small problems one costs as much as a sum.
        self._flat_scale, self._flat_leftover = self.scale.view(-1), self._leftover.view(-1)
        self._leftover_of_used = torch.empty_like(self._background_supply)
        self._sum_rows = _row_sums(problem.supplier, supply.numel(), torch.finfo(cost.dtype).tiny)
        self._row: Tensor
        """(N * G,) of the newest update."""
        self._mass = torch.empty_like(self._kernel)
        """(P,) scratch until the plan is asked for."""

    def update_demanders(self) -> None:
        """leftover = 1 / (1 + odds)."""
        problem, mass = self._problem, self._mass
        torch.index_select(self._flat_scale, 0, problem.supplier, out=mass).mul_(self._kernel)
        self._flat_leftover.fill_(1).scatter_add_(0, problem.demander, mass).reciprocal_()

    def update_suppliers(self) -> None:
        """scale = supply / row * total / background_supply: the suppliers' update and the background's in one."""
        mass = self._mass
        torch.index_select(self._flat_leftover, 0, self._problem.demander, out=mass).mul_(self._kernel)
        self._row = self._sum_rows(mass)
        torch.sum(self._leftover, 1, keepdim=True, out=self._leftover_of_used)
        torch.addcmul(self._ratio_of_unused, self._ratio, self._leftover_of_used, out=self.scale)
        self._flat_scale.div_(self._row).clamp_max_(self._largest)

    def plan(self) -> Plan:
        """After the suppliers' update, in which each has handed out its whole supply. This iterate ends with it."""
        total = self._leftover_of_used + self._problem.num_unused
        background_scale = self._background_supply / total * (self._remaining > 0)
        self._mass *= (self._problem.supply.view(-1) / self._row)[self._problem.supplier]
        return Plan(self._mass, self._leftover * background_scale, background_scale.squeeze(1))


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
