"""Small folders of annotated pictures in every format, as people have them: noise with one bright square each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
BOX = (10, 8, 34, 32)
"""xyxy pixels of the square in every picture."""
CLASS = "square"


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 100, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    left, top, right, bottom = BOX
    pixels[top:bottom, left:right] = 250
    Image.fromarray(pixels).save(path)


def write_coco(folder: Path, splits: dict[str, list[str]]) -> Path:
    """One JSON file per split, the pictures in images/."""
    for split, names in splits.items():
        for seed, name in enumerate(names):
            picture(folder / "images" / name, seed)
        left, top, right, bottom = BOX
        content = {
            "images": [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}
                for n in range(len(names))
            ],
            "categories": [{"id": 1, "name": CLASS}],
        }
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


def write_yolo(folder: Path, splits: dict[str, list[str]]) -> Path:
    """data.yaml, and folders images and labels per split."""
    left, top, right, bottom = BOX
    numbers = ((left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT)
    for split, names in splits.items():
        for seed, name in enumerate(names):
            picture(folder / split / "images" / name, seed)
            label = folder / split / "labels" / Path(name).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"0 {' '.join(map(str, numbers))}\n")
    lines = [f"{split}: {split}/images" for split in splits]
    (folder / "data.yaml").write_text("\n".join([*lines, f"names: [{CLASS}]", ""]))
    return folder


def write_voc(folder: Path, splits: dict[str, list[str]]) -> Path:
    """Annotations, JPEGImages and ImageSets/Main."""
    left, top, right, bottom = BOX
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        for seed, name in enumerate(names):
            picture(folder / "JPEGImages" / name, seed)
            (folder / "Annotations" / Path(name).with_suffix(".xml")).write_text(
                f"<annotation><filename>{name}</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height>"
                f"<depth>3</depth></size><object><name>{CLASS}</name><bndbox><xmin>{left + 1}</xmin>"
                f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object></annotation>"
            )
        stems = [Path(name).stem for name in names]
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join([*stems, ""]))
    return folder


def write_crowdhuman(folder: Path, splits: dict[str, list[str]]) -> Path:
    """annotation_SPLIT.odgt, the pictures in Images/."""
    left, top, right, bottom = BOX
    box = [left, top, right - left, bottom - top]
    for split, names in splits.items():
        lines = []
        for seed, name in enumerate(names):
            picture(folder / "Images" / name, seed)
            person = {"tag": "person", "fbox": box, "vbox": box, "hbox": box, "extra": {}, "head_attr": {}}
            lines.append(json.dumps({"ID": Path(name).stem, "gtboxes": [person]}))
        (folder / f"annotation_{split}.odgt").write_text("\n".join([*lines, ""]))
    return folder


WRITERS = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc, "crowdhuman": write_crowdhuman}
FORMATS = {"coco": "COCO", "yolo": "YOLO", "voc": "VOC", "crowdhuman": "CrowdHuman"}
