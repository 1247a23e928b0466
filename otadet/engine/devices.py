"""Which device computes."""

from __future__ import annotations

import torch

from otadet.errors import UserError


def choose_device(name: str | None = None) -> torch.device:
    """The named device, "cuda", "mps" or "cpu", or the best one of this machine. Raises `UserError` without such."""
    available = _available()
    if name is None:
        name = next(device for device, exists in available.items() if exists)
    if not available[name]:
        raise UserError(f"--device {name}: this machine has none that this torch can use; try --device cpu")
    return torch.device(name)


def device_of(device: torch.device | str | None) -> torch.device:
    """The device that a program names, such as "cuda:1"; None: the best one. Raises `UserError` without such."""
    if device is None:
        return choose_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r}: there is none of this name; choose cpu, cuda or mps") from error
    if not _available().get(found.type, True) or (
        found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()
    ):
        raise UserError(f"device {device}: this machine has none that this torch can use")
    return found


def _available() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
