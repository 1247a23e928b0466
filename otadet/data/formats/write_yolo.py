"""Writes YOLO: `data.yaml`, a text file of boxes per image in `labels`, the images in `images`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from otadet.data.formats.folders import stem
from otadet.data.formats.layout import ALL
from otadet.data.formats.written import Writer, WrittenClasses, WrittenSplit, below, number
from otadet.data.formats.yolo_labels import LARGEST_SHARE

_DECIMALS = 8
"""Of a share of an image's side: a ten-thousandth of a pixel in a picture of 16,384."""


def write_yolo(folder: Path, splits: Mapping[str, WrittenSplit], classes: WrittenClasses) -> Counter[str]:
    """An image without boxes has an empty file. Ignored regions cannot be told from objects, and are left out; a box
    that reaches far out of its image is clipped to it."""
    lost: Counter[str] = Counter()
    for split, data in splits.items():
        labels = folder / below("labels", split)
        labels.mkdir(parents=True)
        shares = _shares(data, lost)
        kept = ~data.ignored
        lost["ignored regions left out, which YOLO has no way to mark"] += int(data.ignored.sum())
        for name, rows in data.rows():
            lines = (
                " ".join((str(label), *(number(share, _DECIMALS) for share in box)))
                for label, box in zip(
                    data.labels[rows][kept[rows]].tolist(), shares[rows][kept[rows]].tolist(), strict=True
                )
            )
            (labels / f"{stem(name)}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    yaml = [f"{split}: {below('images', split)}\n" for split in splits if split != ALL]
    # A text in JSON is one in YAML too, whatever characters it has.
    yaml += [f"nc: {len(classes.names)}\n", "names:\n"]
    yaml += [f"  {label}: {json.dumps(name, ensure_ascii=False)}\n" for label, name in enumerate(classes.names)]
    (folder / "data.yaml").write_text("".join(yaml), encoding="utf-8")
    return lost


def _shares(data: WrittenSplit, lost: Counter[str]) -> np.ndarray:
    """(M, 4) centre, width and height as shares of the image's sides."""
    height, width = np.repeat(data.sizes, np.diff(data.offsets), axis=0).T
    corners = data.boxes / np.stack((width, height, width, height), axis=1)
    shares = _centres(corners)
    far = np.any(abs(shares) > LARGEST_SHARE, axis=1)
    lost["boxes that reach far out of their image clipped to it"] += int((far & ~data.ignored).sum())
    return np.where(far[:, None], _centres(corners.clip(0, 1)), shares)


def _centres(corners: np.ndarray) -> np.ndarray:
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate(((low + high) / 2, high - low), axis=1)


YOLO = Writer(lambda split: below("images", split), write_yolo)
