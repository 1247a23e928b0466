"""Networks of other packages as backbones: three of their maps, verified without computing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from otadet.errors import UserError

STRIDES = (8, 16, 32)
"""Of the maps that a detector is built on, finest first."""
SIZES = ((160, 96), (288, 416))
"""(height, width) of the images that a network is tried with: not square, of odd numbers of coarse cells, and not what
any is trained on."""
Axes = tuple[int, int, int]
"""Where in the shape of a map its height, width and channels are."""
LAYOUTS: tuple[Axes, ...] = ((2, 3, 1), (1, 2, 3))
"""(N, C, H, W) and (N, H, W, C)."""


@dataclass(frozen=True)
class Maps:
    """What is known of the maps of a network, one of each of `STRIDES`."""

    layouts: tuple[Axes, ...]
    channels: tuple[int, ...]
    unused: frozenset[str]
    """Names of parameters that have no say in them."""


class ForeignBackbone(nn.Module):
    """A network of another package: images (N, 3, H, W) -> C3, C4, C5, of `channels` and `strides`.

    Args:
        network: images -> its maps of these strides, finest first, in a list or a dict.
        maps: what `check_maps` found of them. What has no say in them does not train.
        frozen_norms: whether its batch norms stay as they are, in training too.
    """

    strides = STRIDES

    def __init__(self, network: nn.Module, maps: Maps, *, frozen_norms: bool) -> None:
        super().__init__()
        self.network = network
        self.layouts = maps.layouts
        self.channels = maps.channels
        self.frozen_norms = frozen_norms
        # Several processes would wait for the gradients of these.
        for name in maps.unused:
            network.get_parameter(name).requires_grad_(False)
        if frozen_norms:
            for norm in self._norms():
                norm.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (N, channels[l], H / strides[l], W / strides[l]), finest first."""
        return [
            one if layout == LAYOUTS[0] else one.permute(0, 3, 1, 2).contiguous()
            for one, layout in zip(as_list(self.network(images)), self.layouts, strict=True)
        ]

    def train(self, mode: bool = True) -> ForeignBackbone:
        """As of any module; frozen norms go on using the statistics that they have."""
        super().train(mode)
        for norm in self._norms() if self.frozen_norms else ():
            norm.eval()
        return self

    def _norms(self) -> Iterator[nn.Module]:
        return (module for module in self.network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))


def as_list(maps: Mapping[str, Tensor] | Sequence[Tensor]) -> list[Tensor]:
    """The maps that a network returns, finest first."""
    return list(maps.values() if isinstance(maps, Mapping) else maps)


def check_maps(network: nn.Module, what: str) -> Maps:
    """What there is to know of the maps that `network` has, an image's sides being what they may.

    network: on the device "meta", in evaluation mode; see `ForeignBackbone`. Raises `UserError`, beginning with `what`,
    where it takes images of one size only, or its maps do not have a cell for every 8, 16 and 32 pixels.
    """
    shapes = [[one.shape for one in as_list(tried(network, size, what))] for size in SIZES]
    layouts, channels = [], []
    for stride, *pair in zip(STRIDES, *shapes, strict=True):
        layout = layout_of(pair, stride)
        if layout is None:
            (height, width), shape = SIZES[0], tuple(pair[0])
            raise UserError(
                f"{what}: its map of stride {stride} is {shape} for an image of {height} x {width}; choose a network "
                "with a cell for every 8, 16 and 32 pixels"
            )
        layouts.append(layout)
        channels.append(pair[0][layout[2]])
    return Maps(tuple(layouts), tuple(channels), _unused(network))


def _unused(network: nn.Module) -> frozenset[str]:
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    with torch.enable_grad():
        sums = [one.sum() for one in as_list(network(torch.empty(1, 3, *SIZES[0], device="meta")))]
        gradients = torch.autograd.grad(sums, list(trained.values()), allow_unused=True)
    return frozenset(name for name, gradient in zip(trained, gradients, strict=True) if gradient is None)


def tried(network: nn.Module, size: tuple[int, int], what: str) -> Any:
    """What `network`, on the device "meta", returns for one image of that height and width.

    Raises `UserError`, beginning with `what`, where it cannot take such an image.
    """
    try:
        with torch.no_grad():
            return network(torch.empty(1, 3, *size, device="meta"))
    # What a network raises for a size that it is not made for is documented nowhere, and of a dozen types.
    except Exception as error:
        raise UserError(
            f"{what}: cannot take an image of {size[0]} x {size[1]}, and detectors see images of many sizes "
            f"({said(error)}); choose a network of convolutions"
        ) from error


def layout_of(pair: Sequence[Sequence[int]], stride: int) -> Axes | None:
    """The layout in which the shapes of a map, one for each of `SIZES`, are of that stride; None where none is."""
    for height, width, channels in LAYOUTS:
        is_right = all(
            len(shape) == 4 and (shape[height] * stride, shape[width] * stride) == size
            for shape, size in zip(pair, SIZES, strict=True)
        )
        if is_right and pair[0][channels] == pair[1][channels]:
            return height, width, channels
    return None


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds, without memory where all that is built just now is to have none."""
    return on_meta(make) if torch.empty(0).is_meta else make()


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds, in evaluation mode on the device "meta": without the memory of its weights.

    Some look at numbers while they are built, which nothing has there. Their small tensors stay on the CPU until then.
    """
    try:
        with torch.device("meta"):
            network = make()
    except Exception:
        with torch.device("cpu"), _WeightsOnMeta():
            network = make()
    return network.to("meta").eval()


class _WeightsOnMeta(TorchFunctionMode):
    """What is allocated without a value, as all weights are before their initialisation, has no memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@contextmanager
def said_of(what: str) -> Iterator[None]:
    """Whatever another package raises inside becomes a `UserError` of one line, beginning with `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {said(error)}") from error


def said(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return line[:200] if line else type(error).__name__
