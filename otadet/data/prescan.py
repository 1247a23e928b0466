"""Finds missing, damaged and unusual image files before training does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from otadet.data.image_file import shown
from otadet.data.image_names import SimilarNames
from otadet.data.images import DEFAULT, ReadOptions, check_header, largest_value, look_at_header, shape
from otadet.errors import UserError

_THREADS = 8
"""Reading headers waits for the disk, or the network behind it, more than it computes."""
_AT_ONCE = 64
_DECODED_AT_MOST = 8
"""16-bit files whose values are looked at: a sensor that uses a part of the range does so in all of its pictures."""


@dataclass
class ImageScan:
    """What a look at I image files found."""

    sizes: np.ndarray
    """(S, 2) int64 height, width in pixels, as the annotations have it or else the file."""
    problems: dict[int, str] = field(default_factory=dict)
    """The message about every file that has a problem, by row."""
    turned: list[int] = field(default_factory=list)
    """Rows of files with an EXIF orientation other than upright."""
    sixteen_bit: list[int] = field(default_factory=list)
    """Rows of files with more than 8 bits per sample."""


def scan_images(
    paths: Sequence[Path], sizes: np.ndarray, *, whole: bool, options: ReadOptions = DEFAULT, folder: Path | None = None
) -> ImageScan:
    """Looks at image files without decoding them, and fills in sizes that are not known.

    Args:
        paths: I files.
        sizes: (S, 2) height, width in pixels as the annotations have it, 0 where they do not.
        whole: check every file with `images.check_header`; False only reads the header where a size is missing.
        options: how the files will be read.
        folder: where files that are missing are looked for under another writing of their name.
    """
    scan = ImageScan(sizes.copy())

    def look(row: int) -> None:
        known = tuple(sizes[row].tolist())
        if all(known) and not whole:
            return
        try:
            header = (check_header if whole else look_at_header)(paths[row], options)
        except UserError as error:
            scan.problems[row] = str(error)
            return
        found = shape(header, options)
        if all(known) and found != known:
            scan.problems[row] = size_problem(paths[row], found, known, options)
        scan.sizes[row] = found
        if header.orientation != 1:
            scan.turned.append(row)
        if header.bits == 16:
            scan.sixteen_bit.append(row)

    def look_at(rows: range) -> None:
        for row in rows:
            look(row)

    with ThreadPoolExecutor(_THREADS) as pool:
        # Some at once, since handing one over takes longer than many a header.
        list(
            pool.map(look_at, (range(len(paths))[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE)))
        )
    scan.problems = dict(sorted(scan.problems.items()))
    if folder is not None:
        _name_similar_files(scan.problems, paths, folder)
    return scan


def scan_warnings(scan: ImageScan, paths: Sequence[Path], options: ReadOptions) -> list[str]:
    """One line per kind of file that is read, but perhaps not as it is meant. Decodes a few of the 16-bit files."""
    lines = []
    if scan.turned and not options.upright:
        lines.append(
            f"{len(scan.turned)} of {len(paths)} image files have an EXIF orientation, such as "
            f"{shown(paths[min(scan.turned)])}; it is ignored, as annotations mostly ignore it. If the boxes were "
            "drawn on the upright pictures, set exif_orientation true"
        )
    return lines + range_warnings(scan.sixteen_bit, paths, options)


def size_problem(
    path: str | Path, found: tuple[int, int], expected: tuple[int, int], options: ReadOptions = DEFAULT
) -> str:
    """The message about a file whose (height, width) is not what its annotations say."""
    text = (
        f"{shown(path)}: has {found[1]} x {found[0]} pixels, but its annotations are for {expected[1]} x {expected[0]}"
        "; its boxes would be misplaced "
    )
    try:
        turned = found == expected[::-1] and look_at_header(path, options).orientation >= 5
    except UserError:
        turned = False
    if not turned:
        return f"{text}(was it resized or turned after labelling?)"
    if options.upright:
        return f"{text}(its EXIF orientation turns it, and the annotations ignore that: set exif_orientation false)"
    return f"{text}(its EXIF orientation turns it: if they are for the upright picture, set exif_orientation true)"


def _name_similar_files(problems: dict[int, str], paths: Sequence[Path], folder: Path) -> None:
    """Adds to the messages about missing files which file there may be meant."""
    similar = SimilarNames(folder)
    for row, problem in problems.items():
        if problem.endswith("no such image file"):
            leads = f"; it is a link to {shown(os.readlink(paths[row]))}" if os.path.islink(paths[row]) else ""
            problems[row] = problem + (leads or similar.hint(os.path.relpath(paths[row], folder)))


def range_warnings(rows: Sequence[int], paths: Sequence[Path], options: ReadOptions) -> list[str]:
    """About 16-bit files whose values use less, or more, of the range than `options.bits` says."""
    rows = sorted(rows)
    picked = {rows[place] for place in np.linspace(0, len(rows) - 1, min(_DECODED_AT_MOST, len(rows))).astype(int)}
    largest = 0
    for row in picked:
        try:
            largest = max(largest, largest_value(paths[row], options))
        except UserError:
            # Damage inside a file, which whoever reads all of them will report.
            continue
    needed, top = max(8, largest.bit_length()), 2**options.bits - 1
    said = f"values up to {largest} in {len(picked)} of {len(rows)} 16-bit images"
    if largest and needed < options.bits:
        return [
            f"16-bit images use {_percent(largest / top)} of their range ({said}), so that they are read as dark "
            f"pictures; set image_bits {needed}: then {2**needed - 1} is white"
        ]
    if largest > top:
        return [
            f"image_bits is {options.bits}, but there are {said}; what is above {top} is white: image_bits {needed}"
        ]
    return []


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"
