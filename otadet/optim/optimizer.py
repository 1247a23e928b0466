"""SGD and AdamW over the parameters that train, and which of these decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from otadet.errors import UserError

WEIGHT_DECAY_ON = ("all", "no_norms", "weights")
"""Which parameters decay; see `parameter_groups`."""

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
)


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    weight_decay_on: str = "all",
) -> torch.optim.Optimizer:
    """`"sgd"` (with `momentum`) or `"adamw"` over the parameters of `model` that require a gradient.

    Put the model on its device first: on CUDA the fused kernels are chosen. weight_decay_on: see `parameter_groups`.
    Raises `UserError` for another name or for a model whose parameters are all frozen.
    """
    groups = parameter_groups(model, weight_decay, weight_decay_on)
    # A fused step leaves out updates with overflown fp16 gradients on the device; any other asks the host each time.
    fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused)
    raise UserError(f"optimizer {name}: choose sgd or adamw")


def parameter_groups(model: nn.Module, weight_decay: float, weight_decay_on: str = "all") -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, without the frozen parameters: first those that decay, then the others.

    weight_decay_on: "all" decays every parameter; "no_norms" all but the weights and biases of normalisation layers,
    so that convolutions' biases and learned scales decay (the released OTA); "weights" spares every parameter with at
    most one axis: those of norms, biases and learned scales (the usual choice with AdamW). Raises `ValueError` for any
    other, `UserError` where nothing is left to train.
    """
    if weight_decay_on not in WEIGHT_DECAY_ON:
        raise ValueError(f"weight_decay_on {weight_decay_on!r}: choose {' or '.join(map(repr, WEIGHT_DECAY_ON))}")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise UserError("every parameter of the model is frozen: there is nothing to train")
    spared = _spared(model, weight_decay_on)
    decayed = [parameter for parameter in trainable if id(parameter) not in spared]
    plain = [parameter for parameter in trainable if id(parameter) in spared]
    groups = ({"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _spared(model: nn.Module, weight_decay_on: str) -> set[int]:
    """The `id` of every parameter that does not decay."""
    if weight_decay_on == "no_norms":
        norms = (module for module in model.modules() if isinstance(module, _NORMS))
        return {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
    if weight_decay_on == "weights":
        return {id(parameter) for parameter in model.parameters() if parameter.ndim <= 1}
    return set()
