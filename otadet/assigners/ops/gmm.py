"""Mixtures of two Gaussians over few numbers each, fitted to many rows at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.ops.inputs import on_host

SMALLEST_VARIANCE = 1e-6
"""Added to every variance, so that equal samples do not make it 0."""


@dataclass(frozen=True)
class Mixtures:
    """One mixture per row of samples; component 0 is the one that began at the row's smallest sample."""

    weight: Tensor
    """(2, R) in 0-1."""
    mean: Tensor
    """(2, R)."""
    variance: Tensor
    """(2, R)."""

    def log_joint(self, samples: Tensor) -> Tensor:
        """(R, K) -> (2, R, K) logarithm of each component's weighted density."""
        distance = (samples - self.mean[..., None]) ** 2 / (2 * self.variance[..., None])
        normalizer = self.weight.log() - (2 * math.pi * self.variance).log() / 2
        return normalizer[..., None] - distance


def fit_mixtures(samples: Tensor, valid: Tensor, iterations: int = 100, tolerance: float = 1e-3) -> Mixtures:
    """Expectation maximisation, from equal weights, variances 1 and the means at the smallest and the largest sample.

    The mixture of a row with one sample or none is finite too.

    Args:
        samples: (R, K).
        valid: (R, K) bool: false where the table is padding.
        iterations: at most so many.
        tolerance: a row ends when its mean log likelihood changes by less.
    """
    number = valid.sum(1, keepdim=True).clamp(min=1).to(samples.dtype)
    samples = torch.where(valid, samples, 0)
    middle = samples.sum(1, keepdim=True) / number
    samples = (samples - middle) * valid
    rows = _Rows.first(samples, valid, number)
    fit = rows.fit.clone()
    for _ in range(iterations):
        rows = rows.step(tolerance)
        if on_host(samples):
            # Most rows end early: go on with the others alone, as soon as they are no more than half.
            left = (~rows.settled).squeeze(1).nonzero().squeeze(1)
            if 2 * len(left) <= len(rows.settled):
                fit[rows.index] = rows.fit
                rows = rows.only(left)
            if len(left) == 0:
                break
    fit[rows.index] = rows.fit
    weight, mean, variance = fit.permute(2, 1, 0).unbind()
    return Mixtures(weight, mean + middle.T, variance)


@dataclass(frozen=True)
class _Rows:
    """The state of `R` rows between two steps; their samples have a mean of 0."""

    index: Tensor
    """(R,) int64 which rows these are."""
    powers: Tensor
    """(R, 3, K) 1, x and x^2 of the samples; 0 in the padding."""
    count: Tensor
    """(R, 1) samples, at least 1."""
    sums: Tensor
    """(R, 3) of the powers."""
    fit: Tensor
    """(R, 2, 3) weight, mean and variance of the components."""
    likelihood: Tensor
    """(R, 1) mean logarithm, before the last step."""
    settled: Tensor
    """(R, 1) bool."""

    @classmethod
    def first(cls, samples: Tensor, valid: Tensor, count: Tensor) -> _Rows:
        lowest = torch.where(valid, samples, torch.inf).amin(1)
        highest = torch.where(valid, samples, -torch.inf).amax(1)
        mean = torch.stack((lowest, highest), 1).nan_to_num(0.0, 0.0, 0.0)
        fit = torch.stack((torch.full_like(mean, 0.5), mean, torch.ones_like(mean)), -1)
        powers = torch.stack((valid.to(samples.dtype), samples, samples * samples), 1)
        unknown = torch.full_like(samples[:, :1], -torch.inf)
        row = torch.arange(len(fit), device=fit.device)
        return cls(row, powers, count, powers.sum(-1), fit, unknown, torch.zeros_like(unknown, dtype=torch.bool))

    def step(self, tolerance: float) -> _Rows:
        """One expectation, one maximisation, for the rows that are not settled."""
        coefficients = _log_joint_coefficients(self.fit)
        constant, slope, curve = (coefficients[:, :1] - coefficients[:, 1:]).unbind(-1)
        sample = self.powers[:, 1]
        log_odds = torch.addcmul(constant, sample, torch.addcmul(slope, sample, curve))
        responsibility = torch.stack((log_odds, -log_odds), 1).sigmoid_()
        # log(first + second) = log(second) + log(1 + first / second)
        gain = F.softplus(log_odds).mul_(self.powers[:, 0]).sum(1, keepdim=True)
        likelihood = ((coefficients[:, 1] * self.sums).sum(1, keepdim=True) + gain) / self.count
        maximum = _maximise(responsibility @ self.powers.mT, self.count)
        fit = torch.where(self.settled[..., None], self.fit, maximum)
        settled = self.settled | ((likelihood - self.likelihood).abs() < tolerance)
        return replace(self, fit=fit, likelihood=likelihood, settled=settled)

    def only(self, row: Tensor) -> _Rows:
        """Some of them."""
        return _Rows(*(getattr(self, field.name)[row] for field in fields(self)))


def _log_joint_coefficients(fit: Tensor) -> Tensor:
    """(R, 2, 3) weight, mean, variance -> (R, 2, 3) coefficients of 1, x and x^2 in the log of the weighted density."""
    weight, mean, variance = fit.unbind(-1)
    slope = mean / variance
    constant = weight.log() - ((2 * math.pi * variance).log() + mean * slope) / 2
    return torch.stack((constant, slope, -0.5 / variance), -1)


def _maximise(moments: Tensor, number: Tensor) -> Tensor:
    """(R, 2, 3) sums of 1, x and x^2, each sample counted by its responsibility -> the likeliest (R, 2, 3) fit."""
    count, first, second = moments.unbind(-1)
    count_or_eps = count + 10 * torch.finfo(moments.dtype).eps
    mean = first / count_or_eps
    spread = (second - 2 * mean * first + mean * mean * count) / count_or_eps
    return torch.stack((count_or_eps / number, mean, spread.clamp(min=0) + SMALLEST_VARIANCE), -1)
