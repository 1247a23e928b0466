"""Transforms: functions of a sample and a generator."""

from otadet.data.transforms.geometry import (
    ColorJitter,
    Compose,
    Letterbox,
    RandomFlip,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
    Sample,
    Transform,
)

__all__ = [
    "ColorJitter",
    "Compose",
    "Letterbox",
    "RandomFlip",
    "RandomTranspose",
    "RandomZoom",
    "ResizeShortestEdge",
    "Sample",
    "Transform",
]
