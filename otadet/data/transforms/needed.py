"""The size that a transform needs an image at: larger files are decoded smaller."""

from __future__ import annotations

from typing import Any

from otadet.data.transforms.compose import Until, is_mere_list, others_of


def needed_size(transform: Any, height: int, width: int) -> tuple[int, int] | None:
    """(height, width) beyond which `transform` has no use for more pixels of an image; None where it does not say.

    The first transform of a `Compose` decides, since it resizes the image, and those that mix others into it, which
    come as the data set has them. One of yours says it by a method `needed_size(height, width)`: given the size of an
    image where the transform stands, the size that it brings it to at the most, or for a `MixingTransform`, the others.
    """
    needed: tuple[int, int] = (0, 0)
    size = height, width
    resized = False
    for one, always in _parts(transform):
        if resized and not others_of(one):
            continue
        found = getattr(one, "needed_size", None)
        asked = None if found is None else found(*size)
        if asked is None:
            return None
        needed = max(needed[0], asked[0]), max(needed[1], asked[1])
        if not others_of(one):
            size, resized = asked, resized or always
        else:
            size = max(size[0], asked[0]), max(size[1], asked[1])
    return needed if resized else None


def _parts(transform: Any, always: bool = True) -> list[tuple[Any, bool]]:
    """The transforms of a `Compose`, one after the other, and whether each is there all the time."""
    if is_mere_list(transform):
        return [part for one in transform.transforms for part in _parts(one, always)]
    return _parts(transform.transform, False) if isinstance(transform, Until) else [(transform, always)]
