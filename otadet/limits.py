"""Ranges that the numbers of an experiment have to lie in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from otadet.errors import UserError


@dataclass(frozen=True)
class Limits:
    """An interval; an open end does not belong to it."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def described_for(self, value: float) -> str:
        """What `value`, which is outside, should be; of an end that no sane value comes near nothing is said."""
        low = f"{'above' if self.open_low else 'at least'} {self.low:,g}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:,.15g}"
        if self.high <= 1:
            return f"{low} and {high}"
        return high if value > self.low else low


def check_limits(name: str, value: Any, limits: Limits) -> None:
    """Raise `UserError` where `value`, or any item of it, is outside `limits`; None is no number and passes."""
    for number in value if isinstance(value, Iterable) else (value,):
        if number is not None and number not in limits:
            raise UserError(f"{name} {brief(number)}: must be {limits.described_for(number)}")


def brief(value: Any) -> str:
    """`value` as it is written, cut where that would fill the screen."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


_SHARE = Limits(0, 1)
_PART = Limits(0, 1, open_high=True)
_SIZE = Limits(1, 65_535)
_COUNT = Limits(0, 10**9, open_low=True)

FIELD_LIMITS = {
    "num_classes": Limits(1, 100_000),
    "workers": Limits(0, 1024),
    "max_pixels": Limits(1, 2**40),
    "image_bits": Limits(8, 16),
    "train_sizes": _SIZE,
    "test_size": _SIZE,
    "max_size": _SIZE,
    "letterbox": _SIZE,
    "flip": _SHARE,
    "mean": Limits(0, 255),
    "std": Limits(0, 10_000, open_low=True),
    "width": Limits(1, 4_096),
    "channels": Limits(2, 16_384),
    "tower_depth": Limits(0, 64),
    "prior_probability": Limits(0, 1, open_low=True, open_high=True),
    "anchor_offset": _PART,
    "box_weight": Limits(0, 1e6, open_low=True),
    "quality_weight": Limits(0, 1e6),
    "batch_size": Limits(0, 65_536, open_low=True),
    "lr": Limits(0, 1e6, open_low=True),
    "momentum": _PART,
    "weight_decay": Limits(0, 1e6),
    "steps": Limits(0, 10**12, open_low=True),
    "warmup_iterations": Limits(0, 10**12),
    "max_iterations": Limits(0, 10**12, open_low=True),
    "max_epochs": Limits(0, 10**6, open_low=True),
    "grad_clip": Limits(0, 1e30, open_low=True),
    "ema": _PART,
    # Added to the number of the process and handed to generators of 64 bits.
    "seed": Limits(0, 2**62),
    "eval_every": Limits(0, 10**6),
    "log_every": _COUNT,
    "save_every": _COUNT,
    "process_timeout": Limits(1, 10**6),
    "score_threshold": _SHARE,
    "topk_per_level": _COUNT,
    "nms_iou": _SHARE,
    "max_detections": _COUNT,
}
"""By name of the field; the upper ends only catch what can be no more than a slip of the hand."""
