"""Images with their ground truth, found by file name in an experiment's data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.data.dataset import DetectionDataset
from otadet.data.sample import Sample
from otadet.errors import UserError
from otadet.names import names_as_trained

if TYPE_CHECKING:
    from otadet.exp import BaseExp


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of a data set, read when it is asked for."""

    dataset: DetectionDataset
    index: int

    @property
    def path(self) -> Path:
        """The file."""
        return self.dataset.path(self.index)

    def sample(self) -> Sample:
        """The pixels and the boxes. Raises `UserError` for a file that cannot be read, or an image without boxes."""
        sample = self.dataset.sample(self.index)
        if not len(sample.boxes):
            raise UserError(f"{self.path}: has no box in {self.dataset.source}; there is nothing to assign")
        return sample


def annotated_images(
    exp: BaseExp, paths: Sequence[Path], trained: Sequence[str] = ()
) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    """The images, in the order of the paths, and the class names of the data.

    trained: classes of the network, whose order is taken unless the experiment has other ones.

    Each path is looked up in the experiment's validation set, then in its training set: as a file, as a file name of
    the annotations or the end of one, else by its name alone. A folder stands for those of its images that have boxes.
    Raises `UserError` for an image that neither set has or whose name several have, and for a folder without any.
    """
    datasets = _datasets(exp, trained)
    found = [image for path in paths for image in (_in_folder if _is_folder(path, datasets) else _find)(path, datasets)]
    return found, datasets[0].class_names


def _datasets(exp: BaseExp, trained: Sequence[str]) -> list[DetectionDataset]:
    """The validation and the training set, with the classes of the latter."""
    # One image is wanted: it is not worth while to look at all of them, and to skip some needs just that.
    exp = copy(exp)
    exp.data = exp.data.without_prescan()
    train_set = exp.build_train_dataset(names_as_trained(exp.data.class_names, trained))
    return [exp.build_val_dataset(train_set.class_names), train_set]


def _is_folder(path: Path, datasets: Sequence[DetectionDataset]) -> bool:
    return os.path.isdir(path) or any(os.path.isdir(dataset.image_dir / path) for dataset in datasets)


def _in_folder(path: Path, datasets: Sequence[DetectionDataset]) -> list[AnnotatedImage]:
    """The images below the folder `path`, which may also be relative to the images of a data set."""
    found: dict[Path, AnnotatedImage] = {}
    for dataset in datasets:
        folder = Path(os.path.realpath(path if os.path.isdir(path) else dataset.image_dir / path))
        files = [Path(os.path.realpath(dataset.image_dir / name)) for name in dataset.file_names]
        inside = [index for index, file in enumerate(files) if folder in file.parents]
        boxes = dataset.boxes_per_image()
        for index in inside:
            if boxes[index]:
                found.setdefault(files[index], AnnotatedImage(dataset, index))
    if not found:
        raise UserError(f"{path}: no image of this folder has a box in {_files(datasets)}")
    return list(found.values())


def _find(path: Path, datasets: Sequence[DetectionDataset]) -> list[AnnotatedImage]:
    for is_match in _MATCHES:
        for dataset in datasets:
            named = [index for index, name in enumerate(dataset.file_names) if Path(name).name == path.name]
            matches = [index for index in named if is_match(dataset, index, path)]
            if len(matches) > 1:
                raise UserError(f"{path}: {dataset.source} has {len(matches)} such images; give the whole path")
            if matches:
                return [AnnotatedImage(dataset, matches[0])]
    raise UserError(f"{path}: no image of this name in {_files(datasets)}; an assignment needs the image's annotations")


def _is_file(dataset: DetectionDataset, index: int, path: Path) -> bool:
    return os.path.exists(path) and os.path.realpath(dataset.path(index)) == os.path.realpath(path)


def _is_file_name(dataset: DetectionDataset, index: int, path: Path) -> bool:
    return Path(dataset.file_names[index]) == path


def _ends_alike(dataset: DetectionDataset, index: int, path: Path) -> bool:
    """One is the end of the other, by more than the last part."""
    name = Path(dataset.file_names[index])
    common = min(len(name.parts), len(path.parts))
    return common > 1 and name.parts[-common:] == path.parts[-common:]


def _has_name(dataset: DetectionDataset, index: int, path: Path) -> bool:
    return dataset.path(index).name == path.name


_MATCHES: tuple[Callable[[DetectionDataset, int, Path], bool], ...] = (_is_file, _is_file_name, _ends_alike, _has_name)
"""The closest first."""


def _files(datasets: Sequence[DetectionDataset]) -> str:
    return " and ".join(dict.fromkeys(str(dataset.source) for dataset in datasets))
