"""A validation split of images that nobody has parted: a function of their names, the frames of a film together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

import numpy as np

from otadet.errors import UserError

_COPY = re.compile(r"^(.+)\.rf\.[0-9A-Za-z]{8,}$")
"""Roboflow's copies of one picture, NAME.rf.HASH, changed at random each."""
_FRAME = re.compile(
    r"^(.+?)[-_. ]*(?:(?:frame|frm)[-_. ]*\d+|(?<=[-_.])(?:mp4|avi|mov|mkv|webm)[-_. ]*\d+)(?:[-_](?:jpe?g|png))?$",
    re.IGNORECASE,
)
"""Frames of a film that say so: CLIP_frame_0012, CLIP_mp4-12_jpg."""


@dataclass(frozen=True)
class SplitRule:
    """How a validation split is made of images that have none."""

    share: float = 0.2
    """Of the images, in 0-1; 0: none is made; 1: all are, as nothing is trained on."""
    seed: int = 0
    """Another one is another split."""
    group: str | None = None
    """As in `in_val`."""

    @property
    def is_set(self) -> bool:
        """Whether somebody has said how."""
        return self != SplitRule()

    def check(self, split: str, *, no_val: str, whose: str = "") -> None:
        """Raise `UserError` where "train" or "val" would have nothing: the message `no_val`, or one that begins with
        `whose`."""
        if split == "val" and not self.share:
            raise UserError(no_val)
        if split == "train" and self.share == 1:
            raise UserError(f"{whose}data.val_share 1: leaves nothing to train on; set data.val_share 0.2")

    def in_val(self, names: Sequence[str]) -> np.ndarray:
        """`in_val` by this rule, whose share is neither 0 nor 1."""
        return in_val(names, self.share, self.seed, self.group)


def in_val(names: Sequence[str], share: float, seed: int, group: str | None = None) -> np.ndarray:
    """(S,) bool: the images of the made validation split; the others are for training.

    The groups, in the order of a hash of the seed and their keys, are taken while that brings the number of images
    closer to `share` of all; at least one is, and at least one is left.

    Args:
        names: (S,) of the files, relative to their folder. Their order has no say.
        share: in 0-1, without the ends.
        seed: another one is another split.
        group: regular expression whose first group is the key of what stays together, looked for in each name; a name
            without it is a group of its own. None: `group_of`.

    Raises `UserError` where there is only one group.
    """
    keys = _keys(names, group)
    sizes = Counter(keys)
    if len(keys) < 2:
        what = "there is one image alone" if keys else "there are no images"
        raise UserError(f"no validation split can be made: {what}; add images")
    if len(sizes) < 2:
        raise UserError(
            f"no validation split can be made: its {len(keys)} images are all of one group; set data.group (.+) to "
            "part them all the same"
        )
    order = sorted(sizes, key=lambda key: _hashed(key, seed))
    wanted, taken, chosen = share * len(keys), 0, set[str]()
    for key in order:
        if abs(taken + sizes[key] - wanted) < abs(taken - wanted) and len(chosen) < len(order) - 1:
            taken += sizes[key]
            chosen.add(key)
    if not chosen:
        chosen = {min(order, key=lambda key: sizes[key])}
    return np.array([key in chosen for key in keys])


def groups_of(names: Sequence[str], group: str | None = None) -> int:
    """How many groups the images are of."""
    return len(set(_keys(names, group)))


def _keys(names: Sequence[str], group: str | None) -> list[str]:
    """(S,) what stays together has the same."""
    return [group_of(name) if group is None else key_of(name, group) for name in names]


def group_of(name: str) -> str:
    """What stays together by default: copies of one picture, and the frames of a film that are called so.

    Folders belong to the key. Numbers alone say nothing: IMG_0001 and IMG_0002 may be anything.
    """
    path = PurePosixPath(name)
    stem = path.stem
    for pattern in (_COPY, _FRAME):
        if found := pattern.match(stem):
            stem = found[1]
    return str(path.parent / stem)


def key_of(name: str, group: str) -> str:
    """The first group of the expression in the name, or else the name."""
    found = re.search(group, name)
    return name if found is None or found[1] is None else f"\0{found[1]}"


def check_group(group: str | None) -> None:
    """Raise `UserError` for what is no regular expression with a group."""
    if group is None:
        return
    try:
        number = re.compile(group).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"group {group}: is no regular expression ({error})") from error
    if not number:
        raise UserError(f"group {group}: needs a part in brackets, the key of what stays together, such as ^([^/]+)/")


def _hashed(key: str, seed: int) -> bytes:
    return sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest()
