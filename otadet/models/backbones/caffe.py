"""ResNets by the names of Caffe2, in whose files Detectron and Detectron2 have the original ones of MSRA."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from otadet.models.backbones.norms import with_statistics
from otadet.models.renaming import renamed

_NAMES = (
    (r"^conv1_w$", "conv1.weight"),
    (r"^conv1_b$", "conv1.bias"),
    (r"^res_conv1_bn_", "bn1."),
    *((rf"^res{stage + 1}_(\d+)_", rf"layer{stage}.\1.") for stage in range(1, 5)),
    (r"\.branch1_w$", ".downsample.0.weight"),
    (r"\.branch1_bn_", ".downsample.1."),
    *((rf"\.branch2{letter}_w$", f".conv{number}.weight") for number, letter in enumerate("abc", 1)),
    *((rf"\.branch2{letter}_bn_", f".bn{number}.") for number, letter in enumerate("abc", 1)),
    (r"\.(?:gamma|s)$", ".weight"),
    (r"\.(?:beta|b)$", ".bias"),
)


def is_caffe(state: Mapping[str, object]) -> bool:
    """Whether these are its names."""
    return "conv1_w" in state


def with_torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ResNet by torchvision's names, for pictures in RGB: theirs see BGR.

    A bias of the first convolution becomes part of the norm behind it, and a norm without statistics gets those that
    change nothing.
    """
    found = with_statistics({renamed(name, _NAMES): tensor for name, tensor in state.items()})
    stem, bias = found.get("conv1.weight"), found.pop("conv1.bias", None)
    if stem is not None and stem.dim() == 4:
        found["conv1.weight"] = stem.flip(1).contiguous()
    if bias is not None and "bn1.running_mean" in found and bias.shape == found["bn1.running_mean"].shape:
        found["bn1.running_mean"] = found["bn1.running_mean"] - bias
    return found
