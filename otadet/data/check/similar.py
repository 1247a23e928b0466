"""Pictures that are nearly the same: copies that were resized, re-encoded or brightened, and neighbouring frames.

A perceptual hash has 64 bits, each telling whether one of the lowest frequencies of the grey picture is above their
median (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). Hashes that differ in few
bits are candidates; a thumbnail decides. Shape letters: `S` images, `P` pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

GREY = 32
"""Side of the grey picture that is hashed, in pixels."""
THUMBNAIL = 16
MAX_BITS = 11
"""By which the hashes of candidates differ at most. Of four bands of 16 bits one then differs by at most two."""
MIN_CORRELATION = 0.9
"""Of the thumbnails of two pictures that are nearly the same."""
_CANDIDATES, _COMPARED_AT_MOST, _FOUND_AT_MOST = 2_000_000, 200_000_000, 3_000_000
"""Pairs compared at once and in all, and found: where all images are alike, pairs grow with the square of their number,
and the rest is left out."""

_FREQUENCIES = sorted((u + v, u, v) for u in range(11) for v in range(11) if u + v)[:64]
_ROWS, _COLUMNS = [u for _, u, _ in _FREQUENCIES], [v for _, _, v in _FREQUENCIES]
_FLIPS = sorted({1 << one | 1 << other for one in range(16) for other in range(16)} | {0}, key=int.bit_count)
_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def grey_picture(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (32, 32) uint8."""
    # Large pictures first become small, then grey.
    small = cv2.resize(pixels, (4 * GREY, 4 * GREY), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (GREY, GREY), interpolation=cv2.INTER_AREA)


def perceptual_hash(grey: np.ndarray) -> int:
    """(32, 32) -> 64 bits."""
    low = cv2.dct(grey.astype(np.float32))[_ROWS, _COLUMNS]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """(32, 32) uint8 -> (256,) uint8 of 16 x 16 pixels."""
    return cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()


@dataclass(frozen=True, eq=False)
class Alike:
    """Pairs of images that are nearly the same."""

    pairs: np.ndarray
    """(P, 2) int64 rows, the smaller first. Of images with the same hash in one split only the first is paired with
    others, and with them."""
    complete: bool
    """Whether all candidates were compared."""


def alike_pairs(hashes: np.ndarray, thumbnails: np.ndarray, splits: np.ndarray) -> Alike:
    """Finds pairs whose hashes differ by at most `MAX_BITS` bits and whose thumbnails correlate.

    Args:
        hashes: (S,) uint64.
        thumbnails: (S, 256) uint8.
        splits: (S,) number of the split of each, so that no pair across splits is hidden by one within.
    """
    order = np.lexsort((splits, hashes))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(hashes[order]) != 0) | (np.diff(splits[order]) != 0)
    first = order[new]
    same = np.stack((first[np.cumsum(new) - 1], order), axis=1)[~new]
    near, complete = near_pairs(hashes[first])
    pairs = np.concatenate((same, first[near]))
    pairs.sort(axis=1)
    return Alike(pairs[correlations(thumbnails, pairs) >= MIN_CORRELATION], complete)


def near_pairs(hashes: np.ndarray) -> tuple[np.ndarray, bool]:
    """(S,) uint64 -> (P, 2) all pairs of rows that differ by at most `MAX_BITS` bits, and whether it is all of them.

    Each of four bands of 16 bits is an index: who looks under each band's value, and those that differ from it by one
    bit or two, misses none (Norouzi et al., "Fast Search in Hamming Space with Multi-Index Hashing", 2012).
    """
    size, keys, complete = len(hashes), np.empty(0, dtype=np.int64), True
    bands = [_Band.of(hashes, number) for number in range(4)]
    compared = 0
    for flip, band in product(_FLIPS, bands):
        row, other, all_of_them = band.candidates(flip, _CANDIDATES)
        compared += len(row)
        kept = (row != other) & (_bits(hashes[row] ^ hashes[other]) <= MAX_BITS)
        row, other = row[kept], other[kept]
        keys = np.union1d(keys, np.minimum(row, other) * size + np.maximum(row, other))
        complete &= all_of_them
        if compared > _COMPARED_AT_MOST or len(keys) > _FOUND_AT_MOST:
            complete = False
            break
    return np.stack(np.divmod(keys, max(size, 1)), axis=1), complete


@dataclass(frozen=True, eq=False)
class _Band:
    """An index of the hashes by 16 of their bits."""

    values: np.ndarray
    """(S,) int64 below 2 ** 16."""
    order: np.ndarray
    """(S,) rows by value."""
    start: np.ndarray
    """(2 ** 16 + 1,) first place of each value in `order`."""

    @classmethod
    def of(cls, hashes: np.ndarray, number: int) -> _Band:
        values = (hashes >> np.uint64(16 * number) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(values, kind="stable")
        return cls(values, order, np.searchsorted(values[order], np.arange(2**16 + 1)))

    def candidates(self, flip: int, at_most: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """(P,) rows, (P,) rows whose value is that of the first but for the bits of `flip`, and whether it is all."""
        wanted = self.values ^ flip
        begin, end = self.start[wanted], self.start[wanted + 1]
        complete = bool((end - begin).sum() <= at_most)
        if not complete:
            end = np.minimum(end, begin + max(1, at_most // len(begin)))
        row, place = _ranges(begin, end)
        return row, self.order[place], complete


def _ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,), (S,) -> (P,) row, (P,) each number from `begin` to before `end` of that row."""
    counts = end - begin
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.repeat(begin - counts.cumsum() + counts, counts) + np.arange(len(row))


def correlations(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(S, 256), (P, 2) -> (P,) Pearson's, from -1 to 1; 0 where one is of one colour."""
    result = np.zeros(len(pairs))
    for start in range(0, len(pairs), 100_000):
        piece = pairs[start : start + 100_000]
        a, b = (thumbnails[piece[:, column]].astype(np.float32) for column in (0, 1))
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        result[start : start + len(piece)] = (a * b).sum(axis=1) / np.maximum(scale, 1e-6)
    return result


def components(pairs: np.ndarray, size: int) -> np.ndarray:
    """(P, 2) -> (size,) the smallest row that each is linked to, directly or by others; itself where it is alone."""
    root = np.arange(size)
    while True:
        smallest = np.minimum(root[pairs[:, 0]], root[pairs[:, 1]])
        before = root.copy()
        for column in (0, 1):
            np.minimum.at(root, before[pairs[:, column]], smallest)
            np.minimum.at(root, pairs[:, column], smallest)
        root = root[root]
        if (root == before).all():
            return root


def _bits(values: np.ndarray) -> np.ndarray:
    """(P,) uint64 -> (P,) number of bits that are 1."""
    return _ONES[values.view(np.uint8).reshape(-1, 8)].sum(axis=1, dtype=np.uint8)
