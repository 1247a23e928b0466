"""What of a network stays as it is in a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from otadet.errors import UserError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def freeze(model: nn.Module, parts: Iterable[str]) -> None:
    """Let those children of `model` get no gradient. Raises `UserError` for one that the network does not have."""
    for name in parts:
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            raise UserError(f"freeze {name}: the {type(model).__name__} has no `{name}`")
        part.requires_grad_(False)


def parameters_said(model: nn.Module) -> str:
    """How many parameters there are, how many of them train, and of which children the others are, for a log."""
    counts = {name: _frozen(child) for name, child in model.named_children()}
    total, frozen = sum(parameter.numel() for parameter in model.parameters()), _frozen(model)
    where = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    return f"{total:,} parameters; {total - frozen:,} train, {frozen:,} are frozen{f' ({where})' if where else ''}"


def _frozen(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if not parameter.requires_grad)


def training_norms(model: nn.Module) -> frozenset[str]:
    """Names of the batch norms that use the statistics of the batch once `model` is in training mode, which this sets:
    those of a pretrained backbone may stay as they are by themselves."""
    model.train()
    return frozenset(name for name, module in model.named_modules() if isinstance(module, NORMS) and module.training)


def still_norms(model: nn.Module, parts: Sequence[str], *, all_of_them: bool = False) -> frozenset[str]:
    """Names of the batch norms, in those parts of `model` or everywhere, whose statistics are to stay.

    Raises `UserError` where all are to stay and there is none.
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    if all_of_them and not norms:
        raise UserError(f"freeze_norms true: the {type(model).__name__} has no batch norm with statistics of its own")
    return frozenset(norms if all_of_them else (name for name in norms if name.partition(".")[0] in parts))
