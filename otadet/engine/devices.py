"""Which device computes."""

from __future__ import annotations

import torch

from otadet.errors import UserError


def choose_device(name: str | None = None) -> torch.device:
    """The named device, "cuda", "mps" or "cpu", or the best one of this machine. Raises `UserError` without such."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        name = next(device for device, exists in available.items() if exists)
    if not available[name]:
        raise UserError(f"--device {name}: this machine has none that this torch can use; try --device cpu")
    return torch.device(name)
