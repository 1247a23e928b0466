"""The batched EM against a plain one, one row at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from otadet.assigners.ops.gmm import fit_mixtures
from tests.helpers.plain_em import plain_em


def padded(rows: list[list[float]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    samples = torch.tensor([row + [math.inf] * (longest - len(row)) for row in rows], dtype=torch.float64)
    return samples, samples < math.inf


def random_rows(generator: torch.Generator) -> list[list[float]]:
    """Of 2 to 45 samples, from one or two clusters."""
    rows = []
    for _ in range(40):
        size = int(torch.randint(2, 46, (1,), generator=generator))
        far = torch.rand(size, generator=generator, dtype=torch.float64) < torch.rand(1, generator=generator)
        rows.append((0.3 * torch.rand(size, generator=generator, dtype=torch.float64) + 0.5 + far).tolist())
    return rows


@pytest.mark.parametrize("iterations", [1, 100])
def test_each_row_equals_a_plain_em(iterations: int, generator: torch.Generator) -> None:
    rows = random_rows(generator)
    mixtures = fit_mixtures(*padded(rows), iterations=iterations)
    found = torch.stack((mixtures.weight.T, mixtures.mean.T, mixtures.variance.T), -1)
    expected = torch.tensor([plain_em(row, iterations) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


def test_two_clusters_are_found() -> None:
    near, far = [0.9, 1.0, 1.1], [8.8, 9.0, 9.0, 9.2]
    mixtures = fit_mixtures(*padded([far + near]))
    torch.testing.assert_close(mixtures.mean, torch.tensor([[1.0], [9.0]], dtype=torch.float64))
    torch.testing.assert_close(mixtures.weight, torch.tensor([[3 / 7], [4 / 7]], dtype=torch.float64))


@pytest.mark.parametrize("row", [[], [0.7], [0.7, 0.7], [0.7, 0.9]], ids=str)
def test_few_samples_give_a_finite_mixture(row: list[float]) -> None:
    samples, valid = padded([row, [0.1] * 3])
    mixtures = fit_mixtures(samples, valid)
    for values in (mixtures.weight, mixtures.mean, mixtures.variance, mixtures.log_joint(torch.zeros(2, 1))):
        assert values.isfinite().all()
    assert (mixtures.variance > 0).all()
