"""Pictures that are there several times: within a split, or in one that is trained on and one that is measured with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from otadet.data.check.finding import Finding, Place, of_all
from otadet.data.check.kinds import IMAGE_ALIKE, IMAGE_ALIKE_IN_TWO_SPLITS, IMAGE_IN_TWO_SPLITS, IMAGE_TWICE
from otadet.data.check.similar import alike_pairs, components
from otadet.data.check.split import Split

_NOT_ALL = "; so many pictures are alike that not all pairs were compared"


def duplicate_findings(splits: Sequence[Split]) -> list[Finding]:
    """All about copies. Without decoding, only files of the same name are found."""
    return [*_same_content(splits), *_alike(splits)] if splits else []


def _same_content(splits: Sequence[Split]) -> Iterator[Finding]:
    """One finding per split and per pair of splits."""
    several = _of_one_content(splits)
    for number, split in enumerate(splits):
        within = [group[number] for group in several if len(group.get(number, ())) > 1]
        if within:
            files = sum(map(len, within))
            message = (
                f"{of_all(files, split.images, 'image files')}: the same content as another (pictures: {len(within):,})"
            )
            places = [split.place(row) for rows in within for row in rows]
            yield IMAGE_TWICE.found(split.name, message, files, places)
        for other in range(number):
            across = [group for group in several if number in group and other in group]
            if across:
                pairs = [(splits[other].place(group[other][0]), split.place(group[number][0])) for group in across]
                yield _across(splits[other], split, pairs)


def _of_one_content(splits: Sequence[Split]) -> list[dict[int, list[int]]]:
    """Number of the split -> rows in it, of each content that several files have."""
    groups: dict[object, dict[int, list[int]]] = {}
    for number, split in enumerate(splits):
        seen: set[str] = set()
        for row, path in enumerate(split.files.paths):
            file = os.path.realpath(path)
            # Two entries of one file in one split are another finding.
            if file not in seen:
                seen.add(file)
                key = bytes(split.files.digests[row]) or file
                groups.setdefault(key, {}).setdefault(number, []).append(row)
    return [group for group in groups.values() if sum(map(len, group.values())) > 1]


def _across(first: Split, second: Split, pairs: Sequence[tuple[Place, Place]]) -> Finding:
    same_path = sum(os.path.realpath(one.file) == os.path.realpath(other.file) for one, other in pairs)
    how = (
        ""
        if not same_path
        else " (the very same files)"
        if same_path == len(pairs)
        else f" ({same_path:,} are one file)"
    )
    message = f"{of_all(len(pairs), second.images, 'images')} of {second.name}: in {first.name}, too{how}"
    places = [place for pair in pairs for place in pair]
    return IMAGE_IN_TWO_SPLITS.found(f"{first.name}+{second.name}", message, len(pairs), places, paired=True)


def _alike(splits: Sequence[Split]) -> Iterator[Finding]:
    """Pictures of different content that look the same: findings as of `_same_content`."""
    everything = _Everything.of(splits)
    pairs, complete = everything.alike()
    more = "" if complete else _NOT_ALL
    owners = everything.owners[pairs]
    for number, split in enumerate(splits):
        within = pairs[(owners == number).all(axis=1)]
        if len(within):
            root = components(within, len(everything.owners))
            members = np.unique(within)
            members = members[np.argsort(root[members], kind="stable")]
            groups = len(np.unique(root[members]))
            said = of_all(len(members), split.images, "images")
            message = f"{said}: nearly the same as another (groups: {groups:,}){more}"
            yield IMAGE_ALIKE.found(split.name, message, len(members), everything.places(splits, members))
        for other, before in enumerate(splits[:number]):
            # Images are in the order of the splits, so that of a pair the earlier split's comes first.
            across = pairs[(owners == (other, number)).all(axis=1)]
            across = across[np.unique(across[:, 1], return_index=True)[1]]
            if len(across):
                said = f"{of_all(len(across), split.images, 'images')} of {split.name}"
                message = f"{said}: nearly the same as one of {before.name}{more}"
                places = everything.places(splits, across.ravel())
                name = f"{before.name}+{split.name}"
                yield IMAGE_ALIKE_IN_TWO_SPLITS.found(name, message, len(across), places, paired=True)


@dataclass(frozen=True, eq=False)
class _Everything:
    """The images of all splits, one split after the other."""

    owners: np.ndarray
    """(S,) int64 number of the split."""
    rows: np.ndarray
    """(S,) int64 row in it."""
    hashes: np.ndarray
    thumbnails: np.ndarray
    digests: np.ndarray
    usable: np.ndarray
    """(S,) bool: decoded, and of more than one colour."""

    @classmethod
    def of(cls, splits: Sequence[Split]) -> _Everything:
        return cls(
            owners=np.concatenate([np.full(split.images, number) for number, split in enumerate(splits)]),
            rows=np.concatenate([np.arange(split.images) for split in splits]),
            hashes=np.concatenate([split.files.hashes for split in splits]),
            thumbnails=np.concatenate([split.files.thumbnails for split in splits]),
            digests=np.concatenate([split.files.digests for split in splits]),
            usable=np.concatenate([split.files.decoded & ~split.files.blank for split in splits]),
        )

    def alike(self) -> tuple[np.ndarray, bool]:
        """(P, 2) pairs of images of different content, the first first; and whether they are all."""
        usable = np.flatnonzero(self.usable)
        found = alike_pairs(self.hashes[usable], self.thumbnails[usable], self.owners[usable])
        pairs = usable[found.pairs]
        return pairs[self.digests[pairs[:, 0]] != self.digests[pairs[:, 1]]], found.complete

    def places(self, splits: Sequence[Split], images: np.ndarray) -> list[Place]:
        return [splits[self.owners[image]].place(int(self.rows[image])) for image in images.tolist()]
