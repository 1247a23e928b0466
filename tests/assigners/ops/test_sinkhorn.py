"""The sparse solver against the dense log-domain iterations and an independent solver."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from otadet.assigners.ops.sinkhorn import Plan, Problem, sinkhorn
from tests.helpers.counting import count_operations


@dataclass(frozen=True)
class Dense:
    """One image: boxes with costs relative to background, reaching some of the first `U` of `n` demanders."""

    cost: Tensor  # (G, U)
    reach: Tensor  # (G, U) bool; every column has a True
    supply: Tensor  # (G,)
    num_demanders: int

    def solve(self, **settings) -> Plan:
        box, column = self.reach.nonzero().unbind(1)
        size = self.reach.shape[1]
        problem = Problem(self.cost[self.reach], box, column, self.supply[None], size, self.num_demanders)
        return sinkhorn(problem, **settings)

    def dense_plan(self, plan: Plan) -> Tensor:
        """(G + 1, n), background last."""
        dense = torch.zeros(len(self.supply) + 1, self.num_demanders, dtype=torch.float64)
        dense[:-1, : self.reach.shape[1]][self.reach] = plan.mass
        dense[-1, : self.reach.shape[1]] = plan.background[0]
        dense[-1, self.reach.shape[1] :] = plan.untouched[0]
        return dense

    def dense_cost(self, out_of_reach: float) -> Tensor:
        """(G + 1, n), background last."""
        dense = torch.full((len(self.supply) + 1, self.num_demanders), out_of_reach, dtype=torch.float64)
        dense[:-1, : self.reach.shape[1]][self.reach] = self.cost[self.reach]
        dense[-1] = 0
        return dense

    def suppliers(self) -> Tensor:
        """(G + 1,), background last."""
        return torch.cat((self.supply, (self.num_demanders - self.supply.sum())[None]))


def make_problem(seed: int, num_boxes: int = 5, columns: int = 40, num_demanders: int = 200) -> Dense:
    generator = torch.Generator().manual_seed(seed)
    reach = torch.rand(num_boxes, columns, generator=generator) < 0.4
    reach[0] |= ~reach.any(0)
    cost = 6 * torch.rand(num_boxes, columns, generator=generator, dtype=torch.float64) - 2
    supply = torch.randint(1, 8, (num_boxes,), generator=generator).double()
    return Dense(cost, reach, supply, num_demanders)


def log_domain(cost: Tensor, supply: Tensor, eps: float, iterations: int) -> Tensor:
    u, v = torch.ones(cost.shape[0], dtype=torch.float64), torch.ones(cost.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        v = -eps * torch.logsumexp((u[:, None] - cost) / eps, 0)
        u = eps * (supply.log() - torch.logsumexp((v - cost) / eps, 1))
    return ((u[:, None] + v - cost) / eps).exp()


@pytest.mark.parametrize("iterations", [1, 2, 50])
@pytest.mark.parametrize("eps", [0.05, 0.1, 1.0])
def test_every_iterate_is_that_of_the_dense_problem(eps: float, iterations: int) -> None:
    problem = make_problem(0)
    expected = log_domain(problem.dense_cost(1e9), problem.suppliers(), eps, iterations)
    plan = problem.dense_plan(problem.solve(eps=eps, iterations=iterations))
    torch.testing.assert_close(plan, expected, rtol=1e-8, atol=1e-12)


def test_a_batch_is_its_problems_one_by_one() -> None:
    first, second = make_problem(1), make_problem(2)
    pairs = [problem.reach.nonzero() + torch.tensor([5, 40]) * place for place, problem in enumerate((first, second))]
    box, column = torch.cat(pairs).unbind(1)
    cost = torch.cat((first.cost[first.reach], second.cost[second.reach]))
    together = sinkhorn(Problem(cost, box, column, torch.stack((first.supply, second.supply)), 40, 200))
    torch.testing.assert_close(together.mass, torch.cat((first.solve().mass, second.solve().mass)))
    torch.testing.assert_close(together.untouched, torch.cat((first.solve().untouched, second.solve().untouched)))


def test_padding_changes_nothing() -> None:
    problem = make_problem(3)
    box, column = torch.cartesian_prod(torch.arange(5), torch.arange(40)).unbind(1)
    cost = torch.where(problem.reach, problem.cost, torch.inf).flatten()
    padded = sinkhorn(Problem(cost, box, column, problem.supply[None], 40, 200))
    assert (padded.mass[~problem.reach.flatten()] == 0).all()
    torch.testing.assert_close(padded.mass[problem.reach.flatten()], problem.solve().mass)


def test_suppliers_give_all_and_demanders_get_one() -> None:
    problem = make_problem(4)
    plan = problem.dense_plan(problem.solve(iterations=2000))
    torch.testing.assert_close(plan.sum(1), problem.suppliers())
    torch.testing.assert_close(plan.sum(0), torch.ones(200, dtype=torch.float64))


def test_the_converged_plan_is_that_of_another_solver() -> None:
    ot = pytest.importorskip("ot", reason="POT is not installed")
    problem = make_problem(5)
    # 20 is as good as out of reach at eps = 0.1.
    expected = ot.sinkhorn(
        problem.suppliers().numpy(),
        torch.ones(200, dtype=torch.float64).numpy(),
        problem.dense_cost(20.0).numpy(),
        reg=0.1,
        numItermax=20_000,
        stopThr=1e-12,
    )
    plan = problem.dense_plan(problem.solve(eps=0.1, iterations=5000))
    torch.testing.assert_close(plan, torch.from_numpy(expected), rtol=1e-4, atol=1e-6)


def test_tolerance_ends_early_with_the_same_plan() -> None:
    problem = make_problem(6)
    plans = {}

    def solve(tolerance: float | None) -> None:
        plans[tolerance] = problem.solve(iterations=3000, tolerance=tolerance)

    assert count_operations(lambda: solve(1e-9)) < count_operations(lambda: solve(None)) / 2
    torch.testing.assert_close(plans[1e-9].mass, plans[None].mass, rtol=1e-5, atol=1e-9)


def test_more_supply_than_demand_is_finite_and_leaves_background_nothing() -> None:
    problem = make_problem(7, num_boxes=6, columns=10, num_demanders=12)
    problem.supply[:] = 4
    plan = problem.solve()
    assert plan.mass.isfinite().all()
    assert (plan.background == 0).all()
    assert (plan.untouched == 0).all()


@pytest.mark.parametrize("spread", [50.0, 500.0])
def test_costs_far_apart_stay_finite(spread: float) -> None:
    problem = make_problem(8)
    plan = Dense(problem.cost * spread, problem.reach, problem.supply, problem.num_demanders).solve()
    assert plan.mass.isfinite().all()
    torch.testing.assert_close(
        torch.zeros(5, dtype=torch.float64).index_add_(0, problem.reach.nonzero()[:, 0], plan.mass), problem.supply
    )
