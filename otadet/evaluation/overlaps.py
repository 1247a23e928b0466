"""Overlaps of boxes of the same image, with numpy: evaluations need no network's device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """(M, 4) xyxy -> (M,) square pixels, 0 for a box whose corners are crossed."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(G, 4), (D, 4) xyxy, whatever boxes these are, -> (G, D) square pixels."""
    if len(a) > len(b):
        # Many times faster with the longer side in the innermost loops.
        return intersections(b, a).T
    (left, top, right, bottom), (other_left, other_top, other_right, other_bottom) = a.T[..., None], b.T[:, None]
    width = np.minimum(right, other_right) - np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    return np.maximum(width, 0) * np.maximum(height, 0)


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(G, 4), (D, 4) xyxy -> (G, D) in 0-1."""
    common = intersections(a, b)
    return _ratio(common, areas(a)[:, None] + areas(b)[None] - common)


def shares_inside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(D, 4), (I, 4) xyxy -> (D, I) share of the area of each box of `a` that lies in each of `b` (IoA), in 0-1."""
    return _ratio(intersections(a, b), areas(a)[:, None])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where both are nothing."""
    return part / np.maximum(whole, np.finfo(float).tiny)


def same_keys(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Where two sorted arrays of integers have the same key, one key after the other; keys of one alone are skipped."""
    keys = np.unique(a if len(a) < len(b) else b)
    edges = (np.searchsorted(each, keys, side) for each in (a, b) for side in ("left", "right"))
    for first, last, other_first, other_last in zip(*(each.tolist() for each in edges), strict=True):
        if first < last and other_first < other_last:
            yield slice(first, last), slice(other_first, other_last)
