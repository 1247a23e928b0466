"""What lies in a folder in which no data set has been found: for the message about it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from otadet.data.formats.folders import Listings, absolute
from otadet.data.formats.text_file import unmarked
from otadet.data.formats.yolo_files import is_other_text
from otadet.data.formats.yolo_labels import is_label_line
from otadet.data.image_file import shown

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
"""Suffixes of files that folders are packed in."""
_DESCRIBING = (".json", ".yaml", ".yml", ".data", ".odgt", ".xml")
_NAMED_AT_MOST = 5
_COUNTED_AT_MOST = 100_000


def what_is_there(path: Path) -> str:
    """The first names in a folder, and how many files of each kind are below it."""
    names = sorted(os.listdir(path))
    if not names:
        return "it is empty"
    suffixes: Counter[str] = Counter()
    for _, _, files in os.walk(path):
        suffixes.update(Path(name).suffix.lower() or "without a suffix" for name in files)
        if suffixes.total() > _COUNTED_AT_MOST:
            break
    listed = ", ".join(shown(Path(name)) for name in names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    counted = ", ".join(f"{number} {shown(Path(suffix))}" for suffix, number in suffixes.most_common(_NAMED_AT_MOST))
    return f"there are {listed}{more}; files: {counted or 'none'}"


def foreign_data(path: Path) -> str:
    """What is there instead, of what people take for such data, or what may not be read."""
    if closed := _closed(path):
        return f"; {shown(closed)} may not be read (permission denied): give yourself access"
    if _has_labelme(path):
        return "; its .json files are labelme's: export them as COCO, YOLO or Pascal VOC"
    for name in Listings().files(absolute(path)):
        suffix = name[name.rfind(".") :].lower()
        if suffix in ARCHIVES:
            return f"; {shown(name)} is an archive: unpack it"
        if suffix == ".csv":
            return f"; {shown(name)} may have the boxes: export them as COCO, YOLO or Pascal VOC instead of CSV"
        if suffix in (".json", ".xml"):
            start = _start(path / name)
            if suffix == ".xml" and b"<annotations>" in start:
                return f"; {shown(name)} is CVAT's own format: export as COCO, YOLO or Pascal VOC"
            if suffix == ".json" and start.lstrip()[:1] == b"[" and (b'"data"' in start or b'"annotator"' in start):
                return f"; {shown(name)} is Label Studio's own format: export as COCO, YOLO or Pascal VOC"
    return ""


def _closed(path: Path) -> str | None:
    """A file below a folder that may describe data, but that this user may not read."""
    for where, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = os.path.join(where, name)
            if name.lower().endswith(_DESCRIBING) and not os.access(file, os.R_OK):
                return os.path.relpath(file, path)
    return None


def lone_label(path: Path) -> str:
    """That there are label files of YOLO, where no image has been found for any."""
    seen = 0
    for where, folders, files in os.walk(path):
        folders.sort()
        seen += len(files)
        if seen > _COUNTED_AT_MOST:
            break
        texts = [name for name in sorted(files) if name.lower().endswith(".txt") and not is_other_text(name)]
        for name in texts[:_NAMED_AT_MOST]:
            if is_label_line(unmarked(_start(Path(where, name)))[0].lstrip().split(b"\n", 1)[0]):
                label = shown(os.path.relpath(Path(where, name), path))
                return (
                    f"; {label} is a label file of YOLO, but has no image: those are expected under the same names, "
                    "beside the label files or in a folder images beside that called labels"
                )
    return ""


def _has_labelme(path: Path) -> bool:
    """Whether the first .json file of a folder below it is labelme's, which writes one per picture."""
    seen = 0
    for where, folders, files in os.walk(path):
        folders.sort()
        jsons = sorted(name for name in files if name.lower().endswith(".json"))
        if jsons and _is_labelme(Path(where, jsons[0])):
            return True
        seen += len(files)
        if seen > _COUNTED_AT_MOST:
            break
    return False


def _start(path: Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(2**16)
    except OSError:
        return b""


def _is_labelme(path: Path) -> bool:
    start = _start(path)
    return b'"shapes"' in start and (b'"imagePath"' in start or b'"flags"' in start)
