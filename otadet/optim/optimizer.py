"""SGD and AdamW over the parameters that train, and which of these decay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
from torch import nn

from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part

WeightDecayOn = Literal["all", "no_norms", "weights"]
"""Which parameters decay; see `parameter_groups`."""

_RATE = Limits(0, 1e6, open_low=True)
_DECAY = Limits(0, 1e6)
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


@dataclass(frozen=True)
class SGD(Part):
    """Stochastic gradient descent with momentum. The defaults are the paper's, for 16 images per iteration."""

    lr: Annotated[float, _RATE] = 0.01
    """Learning rate after the warm-up."""
    momentum: Annotated[float, Limits(0, 1, open_high=True)] = 0.9
    weight_decay: Annotated[float, _DECAY] = 1e-4
    """Added to the gradient: this share of the weight."""
    weight_decay_on: WeightDecayOn = "no_norms"
    """Which parameters decay; see `parameter_groups`."""
    backbone_factor: Annotated[float, Limits(0, 100, open_low=True)] = 1.0
    """Of the learning rate, for the parameters of the network's `backbone`: below 1 where it is trained already."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Over the parameters of `model` that require a gradient; put the model on its device first.

        On CUDA the fused kernels are chosen. Raises `UserError` for a model whose parameters are all frozen.
        """
        groups = groups_by_rate(model, self)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, fused=_can_be_fused(groups))


@dataclass(frozen=True)
class AdamW(Part):
    """AdamW (Loshchilov and Hutter, 2019), for training from scratch and on small data sets."""

    lr: Annotated[float, _RATE] = 1e-3
    """Learning rate after the warm-up."""
    weight_decay: Annotated[float, _DECAY] = 0.05
    """Of each weight, times the learning rate, is taken off in each step."""
    weight_decay_on: WeightDecayOn = "weights"
    """Which parameters decay; see `parameter_groups`."""
    backbone_factor: Annotated[float, Limits(0, 100, open_low=True)] = 1.0
    """Of the learning rate, for the parameters of the network's `backbone`: below 1 where it is trained already."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """As `SGD.build`."""
        groups = groups_by_rate(model, self)
        return torch.optim.AdamW(groups, lr=self.lr, fused=_can_be_fused(groups))


def _can_be_fused(groups: list[dict[str, Any]]) -> bool:
    # A fused step leaves out updates with overflown fp16 gradients on the device; any other asks the host each time.
    return all(parameter.is_cuda for group in groups for parameter in group["params"])


def groups_by_rate(model: nn.Module, part: SGD | AdamW) -> list[dict[str, Any]]:
    """`parameter_groups`, those of the backbone by themselves, behind the others, where it has another rate.

    Raises `UserError` for a network without a `backbone` then.
    """
    groups = parameter_groups(model, part.weight_decay, part.weight_decay_on)
    if part.backbone_factor == 1:
        return groups
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise UserError(f"backbone_factor {part.backbone_factor:g}: the {type(model).__name__} has no `backbone`")
    slower = {id(parameter) for parameter in backbone.parameters()}
    others = [_only(group, lambda parameter: id(parameter) not in slower) for group in groups]
    own = [_only(group, lambda parameter: id(parameter) in slower) for group in groups]
    own = [{**group, "lr": part.lr * part.backbone_factor} for group in own]
    return [group for group in (*others, *own) if group["params"]]


def _only(group: dict[str, Any], keep: Callable[[nn.Parameter], bool]) -> dict[str, Any]:
    return {**group, "params": [parameter for parameter in group["params"] if keep(parameter)]}


def parameter_groups(model: nn.Module, weight_decay: float, weight_decay_on: str = "all") -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, without the frozen parameters: first those that decay, then the others.

    weight_decay_on: "all" decays every parameter; "no_norms" all but the weights and biases of normalisation layers,
    so that convolutions' biases and learned scales decay (the released OTA); "weights" spares every parameter with at
    most one axis: those of norms, biases and learned scales (the usual choice with AdamW). Raises `ValueError` for any
    other, `UserError` where nothing is left to train.
    """
    if weight_decay_on not in get_args(WeightDecayOn):
        choices = " or ".join(map(repr, get_args(WeightDecayOn)))
        raise ValueError(f"weight_decay_on {weight_decay_on!r}: choose {choices}")
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
