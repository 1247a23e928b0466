"""A folder of annotated pictures without a fault, in COCO's layout, for tests to plant faults in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIDE = 64
CLASSES = ("ape", "bear", "cat")


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8, another one for each seed."""
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), (0, 0), 3)


@dataclass
class AnnotatedFolder:
    """Lists as in the JSON files, by split; `write` writes these, pictures lie there at once."""

    path: Path
    images: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"train": [], "val": []})
    annotations: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"train": [], "val": []})
    categories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def clean(cls, path: Path) -> AnnotatedFolder:
        """16 and 8 pictures, two of each clip, with one box of every class each."""
        folder = cls(path)
        for split in folder.images:
            folder.categories[split] = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
            (path / split).mkdir(parents=True)
        for number in range(24):
            split = "train" if number < 16 else "val"
            row = folder.add(split, f"clip{number // 2}_{number % 2:03}.png", picture(number))
            for label in range(len(CLASSES)):
                corner = [2 + 20 * label + 0.1 * number, 3 + 0.7 * number]
                folder.box(split, row, [*corner, 14 + 0.2 * number, 16 + 0.1 * number], label)
        return folder

    def add(self, split: str, name: str, pixels: np.ndarray | None = None, size: int = SIDE) -> int:
        """An image of the split, its file with those BGR pixels where they are given; returns its id."""
        if pixels is not None:
            cv2.imwrite(str(self.file(split, name)), pixels)
        image_id = sum(map(len, self.images.values())) + 1
        self.images[split].append({"id": image_id, "file_name": name, "height": size, "width": size})
        return image_id

    def box(self, split: str, image_id: int, box: list[float], label: int) -> None:
        self.annotations[split].append(
            {"id": len(self.annotations[split]) + 1, "image_id": image_id, "category_id": label, "bbox": box}
        )

    def file(self, split: str, name: str) -> Path:
        return self.path / split / name

    def write(self) -> None:
        (self.path / "annotations").mkdir(exist_ok=True)
        for split, images in self.images.items():
            content = {
                "images": images,
                "annotations": self.annotations[split],
                "categories": self.categories[split],
            }
            (self.path / f"annotations/instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
