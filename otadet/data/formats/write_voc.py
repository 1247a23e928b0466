"""Writes Pascal VOC: an XML file per image in `Annotations`, lists in `ImageSets/Main`, images in `JPEGImages`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from otadet.data.formats.folders import stem
from otadet.data.formats.layout import ALL
from otadet.data.formats.written import Writer, WrittenClasses, WrittenSplit, number

_DECIMALS = 4


def write_voc(folder: Path, splits: Mapping[str, WrittenSplit], classes: WrittenClasses) -> Counter[str]:
    """Ignored regions are `difficult`. Corners count from 1, as in the devkit: xmin + 1, ymin + 1, xmax, ymax. Which
    classes there are is only told by the objects, so that those without any are lost."""
    (folder / "Annotations").mkdir()
    names = [escape(name) for name in classes.names]
    used = np.zeros(len(names), dtype=bool)
    for split, data in splits.items():
        used[data.labels] = True
        corners = (data.boxes + np.array([1, 1, 0, 0])).tolist()
        sizes = data.sizes.tolist()
        for image, (name, rows) in enumerate(data.rows()):
            objects = [
                _object(names[data.labels[row]], corners[row], bool(data.ignored[row]))
                for row in range(rows.start, rows.stop)
            ]
            path = folder / "Annotations" / f"{stem(name)}.xml"
            path.write_text(_annotation(name, sizes[image], objects), encoding="utf-8")
        if split != ALL:
            lists = folder / "ImageSets" / "Main"
            lists.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{stem(name)}\n" for name in data.names)
            (lists / f"{split}.txt").write_text(text, encoding="utf-8")
    lost: Counter[str] = Counter()
    lost["classes without a box left out, which VOC does not list"] = int((~used).sum())
    if list(classes.names) != sorted(classes.names):
        lost["classes sorted by name, since VOC has no order of them"] = len(names)
    return lost


def _annotation(name: str, size: list[int], objects: list[str]) -> str:
    return (
        f"<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{escape(name)}</filename>\n  <size>\n"
        f"    <width>{size[1]}</width>\n    <height>{size[0]}</height>\n    <depth>3</depth>\n  </size>\n"
        f"  <segmented>0</segmented>\n{''.join(objects)}</annotation>\n"
    )


def _object(name: str, corners: list[float], difficult: bool) -> str:
    sides = "".join(
        f"      <{key}>{number(value, _DECIMALS)}</{key}>\n"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return (
        f"  <object>\n    <name>{name}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n"
        f"    <difficult>{int(difficult)}</difficult>\n    <bndbox>\n{sides}    </bndbox>\n  </object>\n"
    )


VOC = Writer(lambda split: "JPEGImages", write_voc)
