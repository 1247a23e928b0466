"""ResNets from torchvision that return C3, C4 and C5."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model_weights, resnet

from otadet.errors import UserError
from otadet.models.backbones.norms import FrozenNorm
from otadet.torch_file import TorchFileError, read_torch_file

_BLOCKS = {
    10: (resnet.BasicBlock, (1, 1, 1, 1)),
    18: (resnet.BasicBlock, (2, 2, 2, 2)),
    34: (resnet.BasicBlock, (3, 4, 6, 3)),
    50: (resnet.Bottleneck, (3, 4, 6, 3)),
    101: (resnet.Bottleneck, (3, 4, 23, 3)),
}
_WIDTH = 64
"""Channels of the stem of torchvision's ResNets."""


class ResNet(resnet.ResNet):
    """torchvision's ResNet without its classifier: (N, 3, H, W) -> C3, C4, C5, of `channels` and `strides`.

    width: channels of the stem and of the first stage's 3x3 convolutions, doubled by every later stage.
    """

    strides = (8, 16, 32)

    def __init__(self, depth: int, norm_layer: type[nn.Module] = nn.BatchNorm2d, width: int = _WIDTH) -> None:
        if depth not in _BLOCKS:
            raise UserError(f"depth {depth}: there is no such ResNet; choose one of {', '.join(map(str, _BLOCKS))}")
        block, layers = _BLOCKS[depth]
        self.width = width
        super().__init__(block, list(layers), norm_layer=norm_layer)
        del self.avgpool, self.fc
        if width != _WIDTH:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.bn1 = norm_layer(width)
        self.channels = tuple(factor * width * block.expansion for factor in (2, 4, 8))

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        if planes == _WIDTH:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // _WIDTH, *args, **kwargs)

    def forward(self, images: Tensor) -> list[Tensor]:
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]


def build_resnet(depth: int, weights: str | None, width: int = _WIDTH) -> ResNet:
    """A ResNet for the detector.

    `weights` is "imagenet" (torchvision's IMAGENET1K_V1, downloaded once), the path of a file with such a state
    dictionary, or None. A pretrained network has frozen BatchNorm, and its stem and first stage are frozen (the
    paper's setting, Sec. 4.1); one that starts from scratch trains everything. Raises `UserError` for a file that
    cannot be used.
    """
    if weights is None:
        return ResNet(depth, width=width)
    if width != _WIDTH:
        raise UserError(f"width {width}: pretrained weights are those of width {_WIDTH}; set weights none")
    network = ResNet(depth, norm_layer=FrozenNorm)
    state = _read_weights(depth, weights)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    wrong = [name for name, shape in wanted.items() if name not in state or state[name].shape != shape]
    if wrong:
        raise UserError(
            f"weights {weights}: not those of a ResNet-{depth}: {len(wrong)} of {len(wanted)} tensors are missing or "
            f"of another shape, {wrong[0]} first; they should be a state dictionary with torchvision's names"
        )
    network.load_state_dict({name: state[name] for name in wanted})
    for part in (network.conv1, network.bn1, network.layer1):
        part.requires_grad_(False)
    return network


def _read_weights(depth: int, weights: str) -> dict[str, Tensor]:
    if weights == "imagenet":
        return _download_imagenet(depth)
    if not os.path.isfile(weights):
        raise UserError(f'weights {weights}: no such file; give a file, "imagenet", or none to train from scratch')
    try:
        state = read_torch_file(weights)
    except TorchFileError as error:
        raise UserError(f"weights {weights}: not a file of PyTorch weights, or damaged: {error}") from error
    except OSError as error:
        raise UserError(f"weights {weights}: cannot be read ({error.strerror})") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"weights {weights}: holds no state dictionary")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _download_imagenet(depth: int) -> dict[str, Tensor]:
    if depth == 10:
        raise UserError("weights imagenet: torchvision has none for a ResNet-10; use depth 18, or weights none")
    try:
        return get_model_weights(f"resnet{depth}").IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise UserError(
            f"weights imagenet: the ResNet-{depth} could not be downloaded ({error}); "
            "give a local file (weights FILE) or train from scratch (weights none)"
        ) from error
