"""What an image becomes before the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError, did_you_mean
from otadet.models.backbones.normalization import IMAGENET, Three
from otadet.models.normalize import PixelNorm
from otadet.values import without_numpy

LARGEST_MEAN, SMALLEST_STD, LARGEST_STD = 1e6, 1e-6, 1e6
MAX_SIDE = 65_535
"""Pixels of an input's side."""
MAX_AREA = 2**26
"""Pixels of an input: more would take gigabytes before the network even starts."""
_PAPERS = ResizeShortestEdge((800,), 1333)
_RESIZES = {kind.__name__: kind for kind in (ResizeShortestEdge, Letterbox)}


@dataclass(frozen=True)
class InputSpec:
    """The size, the padding and the normalisation of the network's input, in numbers.

    An image is resized, padded at the right and the bottom to multiples of the network's own size divisor, and
    normalised as `(pixel - mean) / std` per channel of RGB, on the 0-255 scale. Checkpoints and exported files hold it
    as it is. Raises `UserError`, naming the field, for values that cannot work.
    """

    resize: ResizeShortestEdge | Letterbox = _PAPERS
    """To one size for the shortest edge, or into a fixed size; the latter pads with `pad_value`."""
    mean: Three = IMAGENET.mean
    """RGB."""
    std: Three = IMAGENET.std
    """RGB."""
    padding: tuple[int, int, int] | None = None
    """RGB of the padding, 0-255, before normalisation. None: the mean, so that padding is as good as 0 for the
    network."""
    image_bits: int = 16
    """Bits that the values of 16-bit image files use: 12 for those of a 12-bit sensor."""

    def __post_init__(self) -> None:
        for name in ("mean", "std", "padding", "image_bits"):
            value = without_numpy(getattr(self, name))
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        _check_resize(self.resize)
        _check_three("mean", self.mean, -LARGEST_MEAN, LARGEST_MEAN)
        _check_three("std", self.std, SMALLEST_STD, LARGEST_STD)
        if max(self.std) <= 1 and 0 < max(self.mean) <= 1:
            raise UserError(
                f"mean {self.mean}, std {self.std}: are on a scale of 0-1, but pixels here are 0-255; multiply by 255"
            )
        if self.padding is not None:
            _check_three("padding", self.padding, 0, 255, kind=int)
        if not _is_number(self.image_bits, int) or not 8 <= self.image_bits <= 16:
            raise UserError(f"image_bits {self.image_bits}: must be a whole number from 8 to 16")
        own = self.resize.pad_value if isinstance(self.resize, Letterbox) else None
        if own is not None and tuple(own) != self.pad_value:
            raise UserError(f"resize: pads with {own}, but all other padding is {self.pad_value}; set padding to it")

    @property
    def pad_value(self) -> tuple[int, int, int]:
        """RGB of the padding, 0-255."""
        if self.padding is not None:
            return self.padding
        red, green, blue = (min(max(round(value), 0), 255) for value in self.mean)
        return red, green, blue

    @property
    def transform(self) -> ResizeShortestEdge | Letterbox:
        """`resize` with the padding it needs: what is called with a `Sample`."""
        return replace(self.resize, pad_value=self.pad_value) if isinstance(self.resize, Letterbox) else self.resize

    def pixel_norm(self, memory_format: torch.memory_format = torch.contiguous_format) -> PixelNorm:
        """The normalisation as a module, which holds its numbers on a device. memory_format: of its result."""
        return PixelNorm(self.mean, self.std, memory_format)

    def normalize(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0-255, uint8 or float -> (N, 3, H, W) float32, on whatever device they are."""
        return self.pixel_norm()(images)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for files; `from_dict` reads it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["resize"] = {"part": type(self.resize).__name__, **_without_tuples(asdict(self.resize))}
        return _without_tuples(plain)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Inverse of `to_dict`. Raises `UserError` for data that is no such input: files may hold anything."""
        values = _fields_of(cls, data, "input")
        if "resize" in values:
            values["resize"] = _resize_from(values["resize"])
        return cls(**values)


def _check_resize(resize: object) -> None:
    if not isinstance(resize, ResizeShortestEdge | Letterbox):
        raise UserError(
            f"resize {resize!r}: the network's input is described by one Letterbox, or one ResizeShortestEdge with one "
            "size; other changes of an image belong to the training alone"
        )
    if isinstance(resize, ResizeShortestEdge) and len(resize.sizes) != 1:
        raise UserError(f"resize {resize!r}: needs one size; several are drawn from in training alone")
    sides = resize.size if isinstance(resize, Letterbox) else (*resize.sizes, resize.max_size)
    if not all(_is_number(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise UserError(f"resize {resize!r}: its sizes must be whole numbers of 1 to {MAX_SIDE:,} pixels")
    if math.prod(sides) > MAX_AREA:
        raise UserError(f"resize {resize!r}: its images must have at most {MAX_AREA:,} pixels")


def _check_three(name: str, values: object, low: float, high: float, kind: type = float) -> None:
    if not isinstance(values, tuple) or len(values) != 3 or not all(_is_number(value, kind) for value in values):
        raise UserError(f"{name} {values!r}: must be three numbers, for red, green and blue")
    for value in values:
        if not low <= value <= high:
            raise UserError(f"{name} {value:g}: must be from {low:g} to {high:g}")


def _is_number(value: object, kind: type) -> bool:
    """Whether it is a finite number, of Python's: truth values are none."""
    if type(value) is int:
        # A huge integer compares, but is no float.
        return value.bit_length() < 64
    return kind is float and type(value) is float and math.isfinite(value)


def _fields_of(kind: type, data: object, what: str) -> dict[str, Any]:
    """The entries of `data`, lists as tuples. Raises `UserError` where it is no mapping or has others than fields."""
    if not isinstance(data, Mapping):
        raise UserError(f"{what}: is not a table of names and values")
    names = [field.name for field in fields(kind)]
    values = {name: value for name, value in data.items() if name != "part"}
    for name in values:
        if name not in names:
            raise UserError(f"{what}: has no field {str(name)[:40]!r}{did_you_mean(str(name)[:40], names)}")
    return {name: _as_tuple(value) for name, value in values.items()}


def _resize_from(data: object) -> ResizeShortestEdge | Letterbox:
    name = data.get("part") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name not in _RESIZES:
        raise UserError(f"resize: its part must be {' or '.join(_RESIZES)}")
    kind = _RESIZES[name]
    values = _fields_of(kind, data, f"resize, a {name}")
    try:
        return kind(**values)
    except (UserError, TypeError, ValueError) as error:
        raise UserError(f"resize: is no {name} ({error})") from error


def _without_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
