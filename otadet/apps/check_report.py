"""The report of the check: as text for people, and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from otadet.data.check.advice import Advice
from otadet.data.check.crowding import NMS_IOUS, THRESHOLDS
from otadet.data.check.finding import SEVERITIES, Finding, Place, percent
from otadet.data.check.split import Split
from otadet.data.check.statistics import STRIDES, Resize, Statistics, level_shares, share_below
from otadet.data.image_file import shown
from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.names import one_agrees

CLASSES_AT_MOST = 12
"""Named per split; the others are counted."""
_BAR = 20
_QUANTILES = (0.05, 0.5, 0.95)


def print_report(
    splits: Sequence[Split], resize: Resize, findings: Sequence[Finding], suggestions: Sequence[Advice], listed: int
) -> None:
    """Numbers, findings, suggestions. listed: files that are named per finding at most."""
    for split in splits:
        print_statistics(split.name, split.statistics, resize)
    counts = [(sum(finding.severity == one for finding in findings), one) for one in SEVERITIES]
    print("\n" + ", ".join(f"{number} {one}{'' if number == 1 else 's'}" for number, one in counts))
    for finding in findings:
        print(f"\n{finding.severity} {finding.id} ({finding.split})\n  {finding.message}")
        lines = _lines(finding)
        for line in lines[:listed]:
            print(f"    {line}")
        if len(lines) > listed:
            print(f"    and {len(lines) - listed:,} more (all with --json)")
        print(f"  fix: {finding.fix}")
    if suggestions:
        print("\nsuggestions for training")
    for one in suggestions:
        setting = " ".join(word for pair in one.settings for word in pair)
        print(f"  {setting}: {one.why}" if setting else f"  {one.why}")


def _lines(finding: Finding) -> list[str]:
    said = [f"{shown(place.file)}{_boxes_said(place)}{_problem_said(place)}" for place in finding.places]
    return [f"{one} = {other}" for one, other in zip(said[::2], said[1::2], strict=True)] if finding.paired else said


def _problem_said(place: Place) -> str:
    return f": {place.problem}" if place.problem else ""


def _boxes_said(place: Place) -> str:
    number = len(place.box_rows)
    return "" if not number else f", {number} box{'' if number == 1 else 'es'}"


def print_statistics(name: str, found: Statistics, resize: Resize) -> None:
    """What is in the split `name`, and how large its boxes are in its files' pixels and in those of the input."""
    ignored = f", {found.ignored:,} ignored regions" if found.ignored else ""
    pictures = f"{found.images:,} images ({found.images_without_boxes:,} without boxes)"
    print(one_agrees(f"\n{name}: {pictures}, {found.boxes:,} boxes, {len(found.class_names)} classes{ignored}"))
    if not found.boxes:
        return
    print_classes(found)
    low, middle, high = np.quantile(found.box_sizes, _QUANTILES)
    at = found.box_sizes_at(resize)
    print(
        f"  size of boxes       {low:.0f} / {middle:.0f} / {high:.0f} px (5 %, median, 95 %; square root of the area)"
    )
    levels = ", ".join(f"P{3 + row} {percent(share)}" for row, share in enumerate(level_shares(at)))
    print(f"  at {size_said(resize):<14} below 8 px {percent(share_below(at, 8.0))}; by pyramid level {levels}")
    low, middle, high = np.quantile(found.aspect_ratios, _QUANTILES)
    print(f"  width / height    {low:.2f} / {middle:.2f} / {high:.2f} (5 %, median, 95 %)")
    crowd = found.crowding
    print(f"  IoU above           {'   '.join(f'{value:>7}' for value in THRESHOLDS)}")
    print(f"    pairs per image   {'   '.join(f'{value:>7.2f}' for value in crowd.pairs_per_image)}")
    print(f"    boxes in a pair   {'   '.join(f'{percent(share):>7}' for share in crowd.shares())}")


def print_classes(found: Statistics) -> None:
    """A histogram, the most frequent first."""
    order = np.argsort(-found.boxes_per_class, kind="stable")
    width = min(max(len(shown(found.class_names[row])) for row in order[:CLASSES_AT_MOST]), 24)
    for row in order[:CLASSES_AT_MOST].tolist():
        boxes, images = int(found.boxes_per_class[row]), int(found.images_per_class[row])
        bar = "#" * round(_BAR * boxes / max(int(found.boxes_per_class.max()), 1))
        number = one_agrees(f"{boxes:>9,} boxes in {images:,} images")
        print(f"    {shown(found.class_names[row]):<{width}} {bar:<{_BAR}} {number}")
    if len(order) > CLASSES_AT_MOST:
        rest = int(found.boxes_per_class[order[CLASSES_AT_MOST:]].sum())
        print(f"    and {len(order) - CLASSES_AT_MOST} more classes with {rest:,} boxes")


def size_said(resize: Resize) -> str:
    """As on a command line."""
    if isinstance(resize, Letterbox):
        return f"{resize.size[0]}x{resize.size[1]}"
    if isinstance(resize, ResizeShortestEdge):
        return f"{','.join(map(str, resize.sizes))}/{resize.max_size}"
    return ",".join(size_said(one) for one in resize.resizes)


def as_data(
    splits: Sequence[Split], resize: Resize, findings: Sequence[Finding], suggestions: Sequence[Advice]
) -> dict[str, Any]:
    """What `--json` prints."""
    by_name = {split.name: split for split in splits}
    return {
        "size": size_said(resize),
        "splits": {split.name: statistics_data(split.statistics, resize) for split in splits},
        "findings": [finding_data(finding, by_name) for finding in findings],
        "suggestions": [{"settings": dict(one.settings), "why": one.why} for one in suggestions],
    }


def statistics_data(found: Statistics, resize: Resize) -> dict[str, Any]:
    """What `print_statistics` prints: sizes in pixels of the files, shares (0-1) at the size of the input."""
    at = found.box_sizes_at(resize)
    quantiles = {
        name: dict(zip(("p5", "p50", "p95"), np.quantile(values, _QUANTILES).tolist(), strict=True))
        for name, values in (("box_size", found.box_sizes), ("aspect_ratio", found.aspect_ratios))
        if found.boxes
    }
    per_class = zip(found.class_names, found.boxes_per_class.tolist(), found.images_per_class.tolist(), strict=True)
    return {
        "images": found.images,
        "images_without_boxes": found.images_without_boxes,
        "boxes": found.boxes,
        "ignored": found.ignored,
        "classes": [{"name": name, "boxes": boxes, "images": images} for name, boxes, images in per_class],
        **quantiles,
        "share_below_8_px": share_below(at, 8.0),
        "share_per_stride": dict(zip(map(str, STRIDES), level_shares(at).tolist(), strict=True)),
        "crowding": {**asdict(found.crowding), "above": THRESHOLDS, "nms_ious": NMS_IOUS},
    }


def finding_data(finding: Finding, splits: dict[str, Split]) -> dict[str, Any]:
    """What was found, and all of its places. splits: by name."""
    return {
        "id": finding.id,
        "severity": finding.severity,
        "split": finding.split,
        "message": finding.message,
        "count": finding.count,
        "fix": finding.fix,
        "paired": finding.paired,
        "files": [_place_data(place, splits) for place in finding.places],
    }


def _place_data(place: Place, splits: dict[str, Split]) -> dict[str, Any]:
    data: dict[str, Any] = {"file": shown(place.file), "split": place.split}
    if place.problem:
        data["problem"] = place.problem
    if place.box_rows:
        boxes = splits[place.split].annotations.boxes[list(place.box_rows)]
        # JSON has no NaN and no infinity.
        data["boxes"] = [[value if np.isfinite(value) else None for value in box] for box in boxes.tolist()]
    return data
