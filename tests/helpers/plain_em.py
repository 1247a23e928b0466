"""A mixture of two components fitted number by number, to judge the fast one by."""

from __future__ import annotations

import math


def plain_em(samples: list[float], iterations: int = 100, tolerance: float = 1e-3) -> list[tuple[float, float, float]]:
    """Weight, mean and variance of two components, the first one begun at the smallest sample."""
    components = [(0.5, min(samples), 1.0), (0.5, max(samples), 1.0)]
    before = -math.inf
    for _ in range(iterations):
        joint = [
            [w * math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v) for w, m, v in components]
            for x in samples
        ]
        likelihood = sum(math.log(sum(row)) for row in joint) / len(samples)
        updated = []
        for i in range(2):
            parts = [row[i] / sum(row) for row in joint]
            count = sum(parts) + 10 * 2.220446049250313e-16
            mean = sum(p * x for p, x in zip(parts, samples, strict=True)) / count
            variance = sum(p * (x - mean) ** 2 for p, x in zip(parts, samples, strict=True)) / count + 1e-6
            updated.append((count / len(samples), mean, variance))
        components = updated
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
    return components
