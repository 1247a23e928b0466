"""Random data sets in the folders that tools write: whatever the layout, each split has all of its images and boxes."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.detect import find_data

WIDTH, HEIGHT = 64, 48
CLASSES = ["cat", "big dog", "Käse, alt", "日本", "a&b", '"q"', "0", "no"]
WORDS = {"val": ["val", "valid", "Val", "validation", "val2017"]}
"""What folders and files of a split are called; of the others `train`, `Train`, `train2017`."""
JUNK: dict[str, Any] = {
    "README.roboflow.txt": "by hand",
    ".DS_Store": "",
    "notes.json": {"info": {}},
    "LICENSE": "none",
}

Splits = dict[str, dict[str, list[tuple[str, list[float]]]]]
"""Split -> stem of an image -> class and corners of each box."""


def bytes_of(suffix: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "PNG" if suffix == ".png" else "JPEG")
    return file.getvalue()


PICTURES = {suffix: bytes_of(suffix) for suffix in (".jpg", ".JPG", ".png")}


def data_set(rng: random.Random) -> tuple[list[str], Splits]:
    names = rng.sample(CLASSES, rng.randint(1, 4))
    splits: Splits = {}
    for split in rng.choice([["train"], ["train", "val"], ["train", "val", "test"], ["all"]]):
        stems = [
            rng.choice(["img{}", "a b {}", "x_{}.v2", "ü{}"]).format(f"{split}{n}") for n in range(rng.randint(2, 4))
        ]
        splits[split] = {stem: [(rng.choice(names), box(rng)) for _ in range(rng.choice([0, 1, 3]))] for stem in stems}
        splits[split][stems[0]].append((names[0], box(rng)))
    return names, splits


def box(rng: random.Random) -> list[float]:
    left, top = rng.uniform(0, WIDTH - 1), rng.uniform(0, HEIGHT - 1)
    return [left, top, rng.uniform(left + 0.5, WIDTH), rng.uniform(top + 0.5, HEIGHT)]


def words(rng: random.Random, splits: Splits) -> dict[str, str]:
    return {split: rng.choice(WORDS.get(split, [split, split.capitalize(), f"{split}2017"])) for split in splits}


def picture(rng: random.Random, files: dict[str, Any], place: str) -> str:
    suffix = rng.choice([*PICTURES])
    files[place + suffix] = PICTURES[suffix]
    return place + suffix


def coco(rng: random.Random, names: list[str], splits: Splits) -> dict[str, Any]:
    files: dict[str, Any] = {}
    word, first = words(rng, splits), rng.choice([0, 1, 5])
    kind, gone = (
        rng.choice(["Roboflow", "annotations", "one folder"]),
        rng.choice(["", "/data/upload/", "C:\\me\\", "a/b/"]),
    )
    for split, images in splits.items():
        json_file, folder = {
            "Roboflow": (f"{word[split]}/_annotations.coco.json", f"{word[split]}/"),
            "annotations": (f"annotations/instances_{word[split]}.json", f"images/{word[split]}/"),
            "one folder": (f"{word[split]}.json", "images/"),
        }[kind]
        content: dict[str, Any] = {"images": [], "annotations": []}
        content["categories"] = [{"id": first + 2 * place, "name": name} for place, name in enumerate(names)]
        for number, (stem, boxes) in enumerate(images.items()):
            file = picture(rng, files, folder + stem)
            content["images"].append({"id": 3 * number, "file_name": gone + file.removeprefix(folder)})
            for name, (left, top, right, bottom) in boxes:
                entry = {"image_id": 3 * number, "category_id": first + 2 * names.index(name)}
                outline = {"segmentation": [[left, top, right, top, right, bottom]]}
                whole = {"bbox": [left, top, right - left, bottom - top], "segmentation": []}
                content["annotations"].append(entry | rng.choice([outline, whole]))
        files[json_file] = content
    return files


def yolo(rng: random.Random, names: list[str], splits: Splits) -> dict[str, Any]:
    files: dict[str, Any] = {}
    word, inner = words(rng, splits), rng.choice(["", "cam 1/"])
    kind = rng.choice(["images and labels", "flat"] if "all" in splits else ["split first", "split last", "lists"])
    folders = {}
    for split, images in splits.items():
        folders[split] = {
            "flat": "",
            "split first": f"{word[split]}/images/",
            "split last": f"images/{word[split]}/",
        }.get(kind, "images/")
        listed = []
        for stem, boxes in images.items():
            listed.append(rng.choice(["", "./", "/home/me/"]) + picture(rng, files, folders[split] + inner + stem))
            label = f"{folders[split].replace('images', 'labels')}{inner}{stem}.txt"
            if boxes or rng.random() < 0.5:
                files[label] = rng.choice(["\n", "\r\n"]).join(
                    label_line(rng, names.index(name), *b) for name, b in boxes
                )
        if kind == "lists":
            files[f"{split}.txt"] = rng.choice(["\n", "\r\n"]).join(listed)
    if kind == "lists" or (rng.random() < 0.6 and "all" not in splits):
        begin = rng.choice(["", "path: .\n", "path: /content/mine\n"])
        where = {split: f"{split}.txt" if kind == "lists" else folder for split, folder in folders.items()}
        lines = [f"{rng.choice([split, split.capitalize()])}: {place}\n" for split, place in where.items()]
        files["data.yaml"] = f"{begin}{''.join(lines)}names: {json.dumps(names)}\n"
    else:
        files[rng.choice(["classes.txt", "obj.names"])] = "\n".join(names)
    return files


def label_line(rng: random.Random, index: int, left: float, top: float, right: float, bottom: float) -> str:
    x, y = np.array([left, right]) / WIDTH, np.array([top, bottom]) / HEIGHT
    if rng.random() < 0.3:
        return f"{index} {x[0]:.8f} {y[0]:.8f} {x[1]:.8f} {y[0]:.8f} {x[1]:.8f} {y[1]:.8f}"
    return f"{index}\t{x.mean():.8f} {y.mean():.8f} {x[1] - x[0]:.8f} {y[1] - y[0]:.8f} "


def object_of(label: str, left: float, top: float, right: float, bottom: float) -> str:
    sides = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"<object><name>{escape(label)}</name><bndbox>{sides}</bndbox></object>"


def voc(rng: random.Random, names: list[str], splits: Splits) -> dict[str, Any]:
    files: dict[str, Any] = {}
    word, inner = words(rng, splits), rng.choice(["", "cam 1/"])
    kind = rng.choice(["flat", "default"] if "all" in splits else ["lists", "of classes", "split first", "split last"])
    xml, pictures = rng.choice(["Annotations", "xml", "labels"]), rng.choice(["JPEGImages", "images"])
    for split, images in splits.items():
        xml_folder, folder = {
            "flat": ("", ""),
            "split first": (f"{word[split]}/{inner}", f"{word[split]}/{inner}"),
            "split last": (f"{xml}/{word[split]}/{inner}", f"{pictures}/{word[split]}/{inner}"),
        }.get(kind, (f"{xml}/{inner}", f"{pictures}/{inner}"))
        for stem, boxes in images.items():
            file = picture(rng, files, folder + stem).removeprefix(folder)
            name = rng.choice([file, stem, f"/home/me/{file}", f"C:\\me\\{file}", f"{stem}.bmp"])
            objects = "".join(object_of(label, *corners) for label, corners in boxes)
            text = f"<annotation><filename>{escape(name)}</filename>{objects}</annotation>"
            files[f"{xml_folder}{stem}.xml"] = rng.choice(["", "\ufeff", '<?xml version="1.0"?>\n']) + text
        keys = [f'"{inner}{stem}"' if " " in inner + stem else stem for stem in images]
        listed = {"lists": [word[split]], "default": ["default"], "of classes": [f"cat_{split}", f"dog_{split}"]}
        for name in listed.get(kind, []):
            files[f"ImageSets/Main/{name}.txt"] = "".join(f"{key}{' -1' * ('_' in name)}\n" for key in keys)
    return files


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("write", [coco, yolo, voc])
def test_nothing_is_lost(tmp_path: Path, write: Callable[..., dict[str, Any]], seed: int) -> None:
    rng = random.Random(seed)
    names, splits = data_set(rng)
    for name, content in {**write(rng, names, splits), **JUNK}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    layout = find_data(tmp_path)
    assert set(layout.splits) == set(splits)
    for split, source in layout.splits.items():
        dataset = DetectionDataset(source.read())
        assert len(dataset) == len(splits[split])
        found: dict[str, list[tuple[str, list[float]]]] = {Path(name).stem: [] for name in dataset.file_names}
        rows = zip(dataset.annotations.image_rows, dataset.labels, dataset.annotations.boxes.tolist(), strict=True)
        for image, label, corners in rows:
            found[Path(dataset.file_names[image]).stem].append((dataset.class_names[label], corners))
        assert found.keys() == splits[split].keys()
        for stem, boxes in splits[split].items():
            assert [name for name, _ in sorted(found[stem])] == [name for name, _ in sorted(boxes)]
            read, written = (np.array([corners for _, corners in sorted(of)]) for of in (found[stem], boxes))
            np.testing.assert_allclose(read, written, atol=0.01)
