"""The splits of a folder: those that it has, and a validation split that is made where it has none."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations, BrokenEntry
from otadet.data.formats.layout import ALL, Layout, Source, lenient
from otadet.data.image_file import shown
from otadet.data.made_split import SplitRule, groups_of
from otadet.errors import UserError
from otadet.names import name_list, one_agrees


@dataclass(frozen=True)
class Split:
    """The annotations of one split, and what the log is to say of where it comes from."""

    annotations: Annotations
    notes: tuple[str, ...]


def read_split(path: str | Path, layout: Layout, split: str, rule: SplitRule) -> Split:
    """The split "train", "val" or "test" of what lies at `path`.

    Without a validation split one is made of the training images, or of all where the files do not say; never of the
    test split, which nothing is trained on. Raises `UserError` where there is no such split and none is to be made.
    """
    whole = "train" if "train" in layout.splits else ALL
    if split == "test" and split not in layout.splits:
        raise UserError(f"{path}: has no test split, but {_there(layout)}")
    if whole not in layout.splits and split not in layout.splits:
        missing = "training" if split == "train" else "validation"
        raise UserError(f"{path}: no {missing} split: there is {_there(layout)}, which is not trained on")
    if "val" in layout.splits or split == "test":
        annotations, made = _read(path, layout.splits[whole if split == "train" else split]), ""
        if rule.is_set:
            made = f"{path}: has a val split of its own, in which val_share, split_seed and group have no say"
    else:
        annotations, made = _made(path, layout, whole, split, rule)
    classes = int(np.count_nonzero(~annotations.classes.is_heading))
    return Split(annotations, (f"{layout}, {classes} class{'es' * (classes != 1)}", *filter(None, (made,))))


def _read(path: str | Path, source: Source) -> Annotations:
    """The annotations. Where several entries are wrong, that of the first says how many more, and what lists them."""
    try:
        return source.read()
    except UserError as error:
        others = [entry for entry in _broken(source) if not str(error).endswith(entry.problem)]
        if not others:
            raise
        command = shlex.join(["otadet", "check", shown(path)])
        raise UserError(f"{error} (and {len(others):,} more: `{command}` lists them)") from error


def _broken(source: Source) -> tuple[BrokenEntry, ...]:
    """What is wrong with it, as far as that can be told entry by entry."""
    try:
        return lenient(source).read().broken
    except UserError:
        return ()


def _made(path: str | Path, layout: Layout, whole: str, split: str, rule: SplitRule) -> tuple[Annotations, str]:
    """The training or the validation part of the split `whole`."""
    rule.check(
        split,
        no_val=f"{path}: no validation split: there is {_there(layout)}; add one, or set data.val_share 0.2 to "
        "have a part of the training images for it",
        whose=f"{path}: ",
    )
    annotations = _read(path, layout.splits[whole])
    if not rule.share:
        return annotations, ""
    if rule.share == 1:
        number = one_agrees(f"{len(annotations.file_names)} images")
        return annotations, f"no val split, so that is what there is: {number} (val_share 1)"
    names = list(annotations.file_names)
    try:
        is_val = rule.in_val(names)
    except UserError as error:
        raise UserError(f"{annotations.source}: {error}") from error
    groups = groups_of(names, rule.group)
    together = f"in {groups} groups that stay together" if groups < len(names) else "each by itself"
    note = (
        f"no val split, so one is made: {is_val.sum()} of {len(names)} images, {together} (val_share {rule.share:g}, "
        f"split_seed {rule.seed}, group {rule.group or 'by name'})"
    )
    part = annotations.of_images(is_val if split == "val" else ~is_val)
    # Nobody has counted by image what the reader did.
    return replace(part, dropped=tuple((f"{what} in both parts", number) for what, number in part.dropped)), note


def _there(layout: Layout) -> str:
    names = ["images of no named split" if name == ALL else name for name in layout.splits]
    return f"{name_list(names)} alone" if len(names) == 1 else name_list(names)
