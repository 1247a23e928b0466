"""A folder as CrowdHuman's, very small."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def write_crowd(folder: Path) -> Path:
    """Four images of two bright people each, in two splits, one of them with an ignored person and a region."""
    (folder / "Images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        lines = []
        for number in range(2):
            image = rng.integers(0, 60, (80, 100, 3), dtype=np.uint8)
            people = []
            for left in (10, 50):
                image[20:70, left : left + 25] += 150
                box = [left, 20, 25, 50]
                people.append({"tag": "person", "fbox": box, "vbox": box, "hbox": [left, 20, 10, 10], "extra": {}})
            region = {"tag": "mask", "fbox": [80, 0, 20, 20], "vbox": [80, 0, 20, 20], "hbox": [80, 0, 20, 20]}
            extra = [people[0] | {"extra": {"ignore": 1}}, region | {"extra": {"ignore": 1}}] if number else []
            cv2.imwrite(str(folder / "Images" / f"{split}{number}.jpg"), image)
            lines.append(json.dumps({"ID": f"{split}{number}", "gtboxes": people + extra}))
        (folder / f"annotation_{split}.odgt").write_text("\n".join(lines), encoding="utf-8")
    return folder
