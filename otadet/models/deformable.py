"""Modulated deformable convolution (DCNv2)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

TAPS = 9
"""Weights of a 3x3 kernel, row by row."""


class DeformableConv2d(nn.Conv2d):
    """A 3x3 convolution whose nine taps each have an offset and a mask, 0-1, per place (Zhu et al., 2019).

    Another 3x3 convolution makes these from the input. It starts at zero, as published: all offsets are 0 and all masks
    0.5, so that the output is half of that of a plain convolution of the same `weight`. It has no learning rate of its
    own, as in detectron2 and in the released OTA; the authors of DCNv2 give it a tenth of the others'.

    The arguments are those of `nn.Conv2d`; the padding is 1. It computes in the format of its weights, whatever
    autocast says: pixels need more digits than half precision has.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=bias)
        # No module, so that whoever initialises all convolutions of a network leaves it at zero.
        self.sampling_weight = nn.Parameter(torch.zeros(3 * TAPS, in_channels, 3, 3))
        self.sampling_bias = nn.Parameter(torch.zeros(3 * TAPS))

    @classmethod
    def like(cls, plain: nn.Conv2d) -> DeformableConv2d:
        """One with the very weights of a 3x3 convolution of padding 1."""
        made = cls(
            plain.in_channels,
            plain.out_channels,
            stride=plain.stride[0],
            groups=plain.groups,
            bias=plain.bias is not None,
        )
        made.weight, made.bias = plain.weight, plain.bias
        return made

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), in the format of the features."""
        with _without_autocast(features.device):
            values = features.to(self.weight.dtype)
            offsets, masks = self.sampling(values)
            # A graph that is being traced is to run where there is no such operator.
            convolve = self._convolve_by_grid if torch.compiler.is_compiling() else self._convolve
            return convolve(values, offsets, masks).to(features.dtype)

    def sampling(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> offsets (N, 18, H', W') in cells, y and x tap by tap, and masks (N, 9, H', W')."""
        made = F.conv2d(features, self.sampling_weight, self.sampling_bias, self.stride, self.padding)
        return made[:, : 2 * TAPS], made[:, 2 * TAPS :].sigmoid()

    def _convolve(self, features: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
        # The operator takes an offset that is no number for a place in memory. The masks have the NaN as well.
        convolved: Tensor = deform_conv2d(
            features, offsets.nan_to_num(), self.weight, self.bias, stride=self.stride, padding=self.padding, mask=masks
        )
        return convolved

    def _convolve_by_grid(self, features: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
        """The same by `grid_sample`: it takes 9 copies of the features, and is in ONNX from opset 16 on."""
        height, width = features.shape[-2:]
        rows, columns = masks.shape[-2:]
        y, x = offsets.unflatten(1, (TAPS, 2)).unbind(2)
        # From cells to -1 ... 1 between the outer edges of the first and the last.
        y = y * (2 / height) + self._taps_along(0, rows, height, features.device)[..., None]
        x = x * (2 / width) + self._taps_along(1, columns, width, features.device)[:, None]
        grid = torch.stack((x, y), -1).flatten(1, 2)
        sampled = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        sampled = sampled.unflatten(2, (TAPS, rows)) * masks[:, None]
        pointwise = self.weight.flatten(1)[:, :, None, None]
        return F.conv2d(sampled.flatten(1, 2), pointwise, self.bias, groups=self.groups)

    def _taps_along(self, axis: int, places: int, cells: int, device: torch.device) -> Tensor:
        """(9, places): where the taps look without offsets, along y (0) or x (1), in the units of `grid_sample`."""
        steps = ((tap // 3, tap % 3)[axis] for tap in range(TAPS))
        # The middle of a cell is half a cell from its edge.
        taps = torch.tensor([step - 0.5 for step in steps], device=device)
        return (torch.arange(places, device=device) * self.stride[axis] + taps[:, None]) * (2 / cells) - 1


def _without_autocast(device: torch.device) -> AbstractContextManager:
    # The device of networks that are only counted knows no autocast.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
