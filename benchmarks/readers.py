"""Time and memory of every reader on 100,000 images with 1,000,000 boxes, which are written to a temporary folder.

python benchmarks/readers.py                        all formats, each in a process of its own
python benchmarks/readers.py --images 2000 yolo     a quick look
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from otadet.cli import run
from otadet.command_line import Parser, as_path, at_least
from otadet.data.annotations import Annotations
from otadet.data.formats.coco import read_coco
from otadet.data.formats.crowdhuman import find_crowdhuman
from otadet.data.formats.voc import find_voc
from otadet.data.formats.yolo import find_yolo

WIDTH, HEIGHT = 640, 480
CLASSES = [f"kind {number}" for number in range(80)]
LINKS = 20_000
"""Names of one image file: file systems have a limit, mostly of some ten thousands."""


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(FORMATS)}; default: all")
    parser.add_argument("--images", type=at_least(1), default=100_000, metavar="N", help="default: 100000")
    parser.add_argument("--boxes", type=at_least(1), default=10, metavar="N", help="per image; default: 10")
    parser.add_argument(
        "--folder", type=as_path, metavar="DIR", help="where the data are written; default: a temporary folder"
    )
    parser.add_argument(
        "--read", type=as_path, metavar="DIR", help="only read this folder, as the processes of the benchmark do"
    )
    args = parser.parse_args()
    unknown = set(args.formats) - FORMATS.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no format; there are {', '.join(FORMATS)}")
    for option, folder in (("--folder", args.folder), ("--read", args.read)):
        if folder is not None and not folder.is_dir():
            parser.error(f"{option} {folder}: no such folder")
    if args.read is not None and len(args.formats) != 1:
        parser.error("--read: name the one format that the folder is in")
    if args.read is not None:
        measure(args.formats[0], args.read)
        return
    print("format       seconds  CPU seconds  peak MiB  images     boxes")
    for name in args.formats or FORMATS:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            FORMATS[name][0](Path(folder), args.images, args.boxes)
            # Memory that the writing took would count as the reader's.
            subprocess.run([sys.executable, __file__, name, "--read", folder], check=True)


def measure(name: str, folder: Path) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    found = FORMATS[name][1](folder)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:12}{wall:8.1f}{cpu:13.1f}{peak:10.0f}{len(found.image_ids):8}{len(found.boxes):10}", flush=True)


def random_boxes(images: int, boxes: int) -> tuple[np.ndarray, np.ndarray]:
    """(images, boxes) classes, and (images, boxes, 4) xywh in pixels."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(4, 100, (images, boxes, 2))
    places = rng.uniform(0, 1, (images, boxes, 2)) * ((WIDTH, HEIGHT) - sides)
    return rng.integers(0, len(CLASSES), (images, boxes)), np.concatenate((places, sides), axis=2).round(2)


def write_images(folder: Path, images: int) -> None:
    """JPEG files 000000.jpg, ...; names of a few files."""
    import cv2

    folder.mkdir(parents=True)
    source = folder / "000000.jpg"
    for number in range(images):
        path = folder / f"{number:06}.jpg"
        if number % LINKS == 0:
            source = path
            cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        else:
            os.link(source, path)


def write_coco(folder: Path, images: int, boxes: int) -> None:
    classes, corners = random_boxes(images, boxes)
    with open(folder / "instances_train.json", "w") as file:
        entries = [
            {"id": number, "file_name": f"{number:06}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1}
            for number in range(images)
        ]
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
        file.write(f'{{"images": {json.dumps(entries)}, "categories": {json.dumps(categories)}, "annotations": [\n')
        for image in range(images):
            for place in range(boxes):
                x, y, width, height = corners[image, place].tolist()
                entry = {
                    "id": image * boxes + place,
                    "image_id": image,
                    "category_id": int(classes[image, place]),
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + width, y, x + width, y + height]],
                }
                last = image == images - 1 and place == boxes - 1
                file.write(json.dumps(entry) + ("]}" if last else ",\n"))


def write_yolo(folder: Path, images: int, boxes: int) -> None:
    write_images(folder / "images" / "train", images)
    (folder / "data.yaml").write_text(f"train: images/train\nnames: {json.dumps(CLASSES)}\n")
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    classes, corners = random_boxes(images, boxes)
    corners[..., :2] += corners[..., 2:] / 2
    corners /= (WIDTH, HEIGHT, WIDTH, HEIGHT)
    for image in range(images):
        rows = zip(classes[image].tolist(), corners[image].tolist(), strict=True)
        lines = (f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n" for label, (x, y, width, height) in rows)
        (labels / f"{image:06}.txt").write_text("".join(lines))


def write_voc(folder: Path, images: int, boxes: int) -> None:
    write_images(folder / "JPEGImages", images)
    (folder / "Annotations").mkdir()
    classes, corners = random_boxes(images, boxes)
    corners[..., 2:] += corners[..., :2]
    for image in range(images):
        rows = zip(classes[image].tolist(), corners[image].tolist(), strict=True)
        objects = "".join(
            f"\t<object>\n\t\t<name>{CLASSES[label]}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
            f"\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{left + 1:.2f}</xmin>\n\t\t\t<ymin>{top + 1:.2f}"
            f"</ymin>\n\t\t\t<xmax>{right:.2f}</xmax>\n\t\t\t<ymax>{bottom:.2f}</ymax>\n\t\t</bndbox>\n\t</object>\n"
            for label, (left, top, right, bottom) in rows
        )
        (folder / "Annotations" / f"{image:06}.xml").write_text(
            f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{image:06}.jpg</filename>\n\t<size>\n\t\t<width>"
            f"{WIDTH}</width>\n\t\t<height>{HEIGHT}</height>\n\t\t<depth>3</depth>\n\t</size>\n{objects}</annotation>\n"
        )


def write_crowdhuman(folder: Path, images: int, boxes: int) -> None:
    write_images(folder / "Images", images)
    _, corners = random_boxes(images, boxes)
    with open(folder / "annotation_train.odgt", "w") as file:
        for image in range(images):
            persons = [
                {
                    "tag": "person",
                    **dict.fromkeys(("fbox", "vbox", "hbox"), box),
                    "extra": {"box_id": place, "occ": 0},
                    "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
                }
                for place, box in enumerate(corners[image].round().astype(int).tolist())
            ]
            file.write(json.dumps({"ID": f"{image:06}", "gtboxes": persons}) + "\n")


def read_split(find: Callable) -> Callable[[Path], Annotations]:
    """A function that reads the one split of a folder."""

    def read(folder: Path) -> Annotations:
        (source,) = find(folder).splits.values()
        return source.read()

    return read


FORMATS: dict[str, tuple[Callable[[Path, int, int], None], Callable[[Path], Annotations]]] = {
    "coco": (write_coco, lambda folder: read_coco(folder / "instances_train.json")),
    "yolo": (write_yolo, read_split(find_yolo)),
    "voc": (write_voc, read_split(find_voc)),
    "crowdhuman": (write_crowdhuman, read_split(find_crowdhuman)),
}

if __name__ == "__main__":
    run(main)
