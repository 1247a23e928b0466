"""A small data set in COCO's format, of pictures and boxes as COCO has them in size and number."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from otadet.export.check import textured_images
from otadet.profiling.problems import Scene, draw_truth

COUNT, HEIGHT, WIDTH = 8, 480, 640


def write_pictures(folder: Path, boxes: int, classes: int) -> None:
    """images/*.jpg and pictures.json, the same each time. A folder that is there is left as it is."""
    if folder.is_dir():
        return
    (folder / "images").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    scene = Scene(boxes, COUNT, classes, HEIGHT, WIDTH)
    images, annotations = [], []
    for number in range(1, COUNT + 1):
        name = f"{number:03d}.jpg"
        pixels = textured_images(1, HEIGHT, WIDTH, seed=number)[0].permute(1, 2, 0).numpy()
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, 90])
        (folder / "images" / name).write_bytes(encoded)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        truth = draw_truth(scene, generator)
        for (left, top, right, bottom), label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box, "iscrowd": 0}
            )
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, classes + 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "pictures.json").write_text(json.dumps(content), encoding="utf-8")
