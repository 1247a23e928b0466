"""A procedural data set as a folder in COCO's layout: crowded, overlapping, textured shapes on textured backgrounds.

It gives a machine without any data something worth training on: classes that differ in form alone, sizes over three
octaves, occlusion, and backgrounds as busy as the objects.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from loguru import logger

from otadet.boxes import xyxy_to_xywh
from otadet.data.synthetic.scenes import Scene, draw_scene
from otadet.data.synthetic.shapes import OUTLINES
from otadet.errors import UserError, reason_of

_MARKER = "synthetic.json"
"""Holds the settings that a folder was written with; a folder without it is somebody else's."""
_OWN_NAMES = {_MARKER, "annotations", "train", "val"}
_VERSION = 2
"""Counted up when the same settings begin to give other images."""


@dataclass(frozen=True)
class _Settings:
    """All that the files depend on."""

    images_train: int
    images_val: int
    size: int
    classes: int
    seed: int
    version: int = _VERSION

    def images_of_split(self) -> dict[str, int]:
        return {"train": self.images_train, "val": self.images_val}


def write_synthetic(
    folder: str | Path,
    *,
    images_train: int = 400,
    images_val: int = 100,
    size: int = 160,
    classes: int = 5,
    seed: int = 0,
) -> None:
    """Writes train/*.png, val/*.png and annotations/instances_{train,val}.json.

    The same arguments give the same files. A folder that was written with them before is left as it is, one that was
    written with others is replaced. A folder appears when it is complete and not before, also when several processes
    write it at once.

    size: side of the square images, in pixels. classes: how many kinds of shape there are, 1-6.

    Raises `UserError` for impossible arguments, and when the folder holds anything else or cannot be written.
    """
    folder, settings = Path(os.path.realpath(folder)), _Settings(images_train, images_val, size, classes, seed)
    if not 1 <= classes <= len(OUTLINES):
        raise UserError(f"classes is {classes}; the kinds are 1 to {len(OUTLINES)}: {', '.join(OUTLINES)}")
    if size < 48 or images_train < 1 or images_val < 1 or seed < 0:
        raise UserError(f"{settings}: needs 48 pixels, an image to train and one to validate on, and a seed >= 0")
    if _is_written(folder, settings):
        return
    logger.info(f"drawing {images_train + images_val} images of shapes into {folder}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            _write_all(Path(temporary) / "complete", settings)
            _move(Path(temporary) / "complete", folder, Path(temporary) / "replaced", settings)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({reason_of(error)}); choose another folder") from error


def _write_all(folder: Path, settings: _Settings) -> None:
    for stream, (split, images) in enumerate(settings.images_of_split().items()):
        # A stream for each image, so that their number does not change them.
        generators = (np.random.default_rng((settings.seed, stream, number)) for number in range(images))
        scenes = (draw_scene(rng, settings.size, settings.classes) for rng in generators)
        _write_split(folder, split, scenes, settings)
    (folder / _MARKER).write_text(json.dumps(asdict(settings)), encoding="utf-8")


def _write_split(folder: Path, split: str, scenes: Iterable[Scene], settings: _Settings) -> None:
    images: list[dict] = []
    annotations: list[dict] = []
    for name in (split, "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for image_id, scene in enumerate(scenes, start=1):
        file_name = f"{image_id:06d}.png"
        _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
        (folder / split / file_name).write_bytes(encoded.tobytes())
        images.append({"id": image_id, "file_name": file_name, "height": settings.size, "width": settings.size})
        annotations += _annotations(scene, image_id, first_id=len(annotations) + 1)
    content = {
        "info": {"description": f"otadet, synthetic shapes, {split}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(list(OUTLINES)[: settings.classes], start=1)],
    }
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def _annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    corners = scene.boxes.round(2)
    rectangles = xyxy_to_xywh(corners).round(2)
    return [
        {
            "id": first_id + number,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": rectangle,
            "area": round(rectangle[2] * rectangle[3], 2),
            "iscrowd": 0,
        }
        for number, (label, rectangle) in enumerate(zip(scene.labels.tolist(), rectangles.tolist(), strict=True))
    ]


def can_be_written(folder: str | Path) -> bool:
    """Whether `write_synthetic` would take this folder: it is missing, empty, or of its own making."""
    try:
        names = set(os.listdir(folder))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not names - _OWN_NAMES and (not names or _MARKER in names)


def is_written(
    folder: str | Path, *, images_train: int, images_val: int, size: int, classes: int, seed: int = 0
) -> bool:
    """Whether all that `write_synthetic` would write is there already. Raises `UserError` as it does."""
    return _is_written(Path(os.path.realpath(folder)), _Settings(images_train, images_val, size, classes, seed))


def _is_written(folder: Path, settings: _Settings) -> bool:
    """Whether the folder holds this data set already; False where it may be written.

    Raises `UserError` where it may not.
    """
    try:
        names = set(os.listdir(folder))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{folder}: the synthetic data needs a folder of its own here ({reason_of(error)})") from error
    foreign = sorted(names - _OWN_NAMES)
    if foreign or (names and _MARKER not in names):
        example = (foreign or sorted(names))[0]
        raise UserError(f"{folder}: holds other files ({example}), which are not overwritten; choose another folder")
    if not names:
        return False
    if (folder / _MARKER).read_text(encoding="utf-8") == json.dumps(asdict(settings)) and _is_complete(
        folder, settings
    ):
        return True
    # Whatever else somebody has put there would go with what is replaced.
    if inside := _foreign_inside(folder):
        raise UserError(f"{folder}: holds other files ({inside}), which are not overwritten; choose another folder")
    return False


def _is_complete(folder: Path, settings: _Settings) -> bool:
    files = {f"instances_{split}.json" for split in settings.images_of_split()}
    return files <= _names_in(folder / "annotations") and all(
        {f"{number:06d}.png" for number in range(1, images + 1)} <= _names_in(folder / split)
        for split, images in settings.images_of_split().items()
    )


def _foreign_inside(folder: Path) -> str:
    """A file in its folders that `write_synthetic` has not written, or ""."""
    own = {"train": r"\d{6,}\.png", "val": r"\d{6,}\.png", "annotations": r"instances_(train|val)\.json"}
    return next(
        (
            f"{inner}/{name}"
            for inner, pattern in own.items()
            for name in sorted(_names_in(folder / inner))
            if not re.fullmatch(pattern, name)
        ),
        "",
    )


def _names_in(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _move(complete: Path, folder: Path, old: Path, settings: _Settings) -> None:
    """Moves `complete` to `folder`, and what is there to `old`; other processes may be doing the same."""
    if _is_written(folder, settings):
        return
    with suppress(FileNotFoundError):
        folder.replace(old)
    try:
        complete.rename(folder)
    except OSError:
        if not _is_written(folder, settings):
            raise
