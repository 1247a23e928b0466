"""Pascal VOC: an XML file per image, and lists of images per split. Shape letters: `S` images, `M` boxes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations, BrokenEntry, note_wrong
from otadet.data.class_list import SourceClasses
from otadet.data.formats.folders import Listings, absolute, name_in
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.layout import Layout
from otadet.data.formats.text_file import read_many
from otadet.data.formats.voc_file import VocObjects
from otadet.data.formats.voc_images import VocImages
from otadet.data.formats.voc_layout import find_layout
from otadet.data.formats.voc_lists import check_named, named_in
from otadet.data.formats.xml_file import LARGEST
from otadet.data.image_file import shown
from otadet.data.image_names import ImageNames, name_problem
from otadet.errors import UserError

_BACKGROUND = "images without an XML file, taken as background"
_NOT_LISTED = "XML files in none of the lists left out"
_UNLABELLED = "images without an XML file left out"


@dataclass(frozen=True)
class VocSplit:
    """One split of a VOC data set: a source of annotations."""

    xml_dir: Path
    image_dir: Path
    lists: tuple[Path, ...] = ()
    """Files of ImageSets; none: all XML files."""
    all_lists: tuple[Path, ...] = ()
    """Those of all splits: what none of them names is counted."""
    lenient: bool = False

    def read(self) -> Annotations:
        """As `read_voc`."""
        return read_voc(self.xml_dir, self.image_dir, self.lists, all_lists=self.all_lists, lenient=self.lenient)


def find_voc(path: str | Path) -> Layout | None:
    """The VOC data set in a folder, or None: `Annotations`, `JPEGImages` and `ImageSets`, a folder of each kind per
    split, or XML files beside the images. Raises `UserError` where it has several such folders.
    """
    found = find_layout(Path(path))
    if found is None:
        return None
    return Layout("VOC", found.why, {split: VocSplit(*where) for split, where in found.splits.items()})


def read_voc(
    xml_dir: str | Path,
    image_dir: str | Path,
    lists: Sequence[str | Path] = (),
    *,
    all_lists: Sequence[str | Path] = (),
    lenient: bool = False,
) -> Annotations:
    """The annotations of one split, its classes sorted by name. Objects that are `difficult` become ignored regions.

    The image of an XML file is that of its own name, as the devkit has it, or else that of its `filename`, whose
    folders and suffix do not count. Corners are counted from 1 in the files; see `VocObjects.add`.

    Args:
        xml_dir: the folder of the XML files.
        image_dir: the folder of the images; both with the folders below them.
        lists: files of ImageSets, an image's name per line, a second column of which is 1, 0 or -1. An image of a list
            that has no XML file is background. None: all XML files; images without one are left out.
        all_lists: those of the other splits as well, by which XML files that no list names are counted.
        lenient: for whoever looks for faults: leave out lines, files and objects that are wrong, and say which, in
            place of an error; and take two files about the same image.

    Raises `UserError` naming the file, and the object or line, for what is no such file.
    """
    xml_dir, image_dir = Path(xml_dir), Path(image_dir)
    files, images = _xml_files(absolute(xml_dir)), VocImages(image_dir)
    broken: list[BrokenEntry] | None = [] if lenient else None
    wanted, twice = _listed(lists, files, images, broken) if lists else (list(files), 0)
    if not wanted:
        raise UserError(f"{shown(lists[0] if lists else xml_dir)}: names no image")
    objects, names, background = VocObjects(broken=broken), list[str](), list[str]()
    contents = read_many([files[key] for key in wanted if key in files], "XML file", LARGEST)
    for key in wanted:
        if key in files:
            names.append(images.name_of(key, objects.add(files[key], next(contents))))
        else:
            objects.sizes.extend((0, 0))
            names.append(images.by_stem(key) or key)
            background.append(names[-1])
    _check_names(names, [files.get(key, "") for key in wanted], wanted, broken)
    unlabelled = [] if lists else sorted(images.names - set(names))
    not_listed = _in_no_list(all_lists, files) if all_lists else []
    counts = {
        _NOT_LISTED: len(not_listed),
        _BACKGROUND: len(background),
        _UNLABELLED: len(unlabelled),
        "images listed twice, taken once": twice,
    }
    dropped = tuple((what, number) for what, number in counts.items() if number)
    made = _annotations(Path(lists[0]) if lists else xml_dir, image_dir, objects, names, dropped)
    if not lenient:
        return made
    paths = {_BACKGROUND: background, _UNLABELLED: unlabelled}
    said = {what: tuple(str(image_dir / name) for name in some) for what, some in paths.items()}
    return replace(made, dropped_files={**said, _NOT_LISTED: tuple(files[key] for key in not_listed)})


def _xml_files(root: str) -> dict[str, str]:
    """Name -> path of each in an absolute folder and those below it; the name is relative to it, without suffix."""
    listings, files = Listings(), dict[str, str]()
    for place in listings.below(root):
        for name in listings.files(place):
            if name.lower().endswith(".xml"):
                path = os.path.join(place, name)
                files[name_in(path, root)[: -len(".xml")]] = path
    return files


def _listed(
    lists: Sequence[str | Path], files: Mapping[str, str], images: VocImages, broken: list[BrokenEntry] | None
) -> tuple[list[str], int]:
    """Names of the XML files, or images, that the lists name, and how many a list names again."""

    def key_of(name: str) -> str | None:
        return name if name in files or images.by_stem(name) else None

    wanted: dict[str, None] = {}
    again = 0
    for path in map(Path, lists):
        here: set[str] = set()
        for number, name, found in named_in(path, key_of):
            try:
                key = check_named(path, number, name, found)
            except UserError as error:
                if broken is None:
                    raise
                broken.append(BrokenEntry.of(path, error))
                continue
            again += key in here
            here.add(key)
            wanted[key] = None
    return list(wanted), again


def _in_no_list(lists: Sequence[str | Path], files: Mapping[str, str]) -> list[str]:
    """The keys of XML files that none of the lists names."""
    named = {key for path in lists for _, _, key in named_in(Path(path), lambda name: name if name in files else None)}
    return sorted(files.keys() - named)


def _check_names(names: list[str], files: Sequence[str], keys: Sequence[str], broken: list[BrokenEntry] | None) -> None:
    """Raise `UserError` for names (S,) that no image can have, or that two files have, which is right where wrong ones
    are noted. In place of a wrong one, that of the XML file, of `keys` (S,), is then taken.
    """
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if problem := name_problem(name, outside=False):
            note_wrong(files[place], f"filename {brief_value(name)} {problem}", broken)
            names[place] = f"{keys[place]}.jpg"
        other = first.setdefault(name, place)
        if other != place and broken is None:
            raise UserError(
                f"{shown(files[place])}: is about the image {shown(name)}, as {shown(files[other])} is; remove one, or "
                "give each the name of its image"
            )


def _annotations(
    source: Path, image_dir: Path, objects: VocObjects, names: Sequence[str], dropped: tuple[tuple[str, int], ...]
) -> Annotations:
    """names: (S,) of the images, in the order of the files."""
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    class_names = sorted(objects.class_names) or ["object"]
    class_rows = _ranks(list(objects.class_names))[np.array(objects.class_rows, dtype=np.int64)]
    counts = np.bincount(class_rows, minlength=len(class_names))
    ids = tuple(range(len(class_names)))
    return Annotations(
        source=source,
        image_dir=image_dir,
        broken=tuple(objects.broken or ()),
        classes=SourceClasses(ids, tuple(class_names), counts, np.zeros(len(ids), dtype=bool), not objects.class_names),
        image_ids=np.arange(1, len(names) + 1),
        file_names=ImageNames.of([names[row] for row in order.tolist()]),
        image_sizes=np.array(objects.sizes, dtype=np.int64).reshape(-1, 2)[order],
        image_rows=np.argsort(order)[np.array(objects.file_rows, dtype=np.int64)],
        class_rows=class_rows,
        boxes=np.array(objects.corners, dtype=np.float64).reshape(-1, 4),
        areas=np.full(len(class_rows), np.nan),
        ignored=np.array(objects.ignored, dtype=bool),
        why_no_boxes="" if len(class_rows) else f"its {len(names)} images have no object in an XML file",
        ignored_hint="set difficult 0 if they are to be found",
        unlisted=() if objects.class_names else tuple(class_names),
        dropped=dropped,
    )


def _ranks(names: list[str]) -> np.ndarray:
    """(F,) int64 place of each name among the sorted ones."""
    ranks = np.zeros(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks
