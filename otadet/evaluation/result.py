"""What every evaluation returns, whatever its protocol."""

from __future__ import annotations

from dataclasses import dataclass

from otadet.evaluation.diagnosis import Diagnosis

NO_TRUTH = -1.0
"""In place of a score where there is no ground truth to measure with."""


@dataclass(frozen=True)
class ClassResult:
    """The numbers of one class."""

    name: str
    scores: dict[str, float]
    """Those of the protocol that are told class by class, 0-1, or -1 for a class without ground truth."""
    truths: int
    """Boxes of ground truth that count."""
    predictions: int
    """Detections of the class."""


@dataclass(frozen=True)
class Result:
    """The outcome of one evaluation."""

    protocol: str
    """Whose evaluation it is: a name in `otadet.evaluation.protocols.PROTOCOLS`."""
    judge: str
    """The program that computed the numbers, and its version."""
    stats: dict[str, float]
    """The scores of the protocol, 0-1, or -1 where there is no ground truth to measure with."""
    per_class: list[ClassResult]
    diagnosis: Diagnosis
