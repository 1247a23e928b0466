"""Several folders as one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Annotated

from otadet.data.images import ReadOptions
from otadet.data.merged import merged
from otadet.data.splits import Split
from otadet.errors import UserError, did_you_mean
from otadet.exp.data.base import Data, FileData, Unreadable
from otadet.exp.data.folder import DataFolder
from otadet.limits import Limits
from otadet.names import clean_class_names, clean_name, name_list

_SHARED = ("unreadable", "prescan", "max_pixels", "exif_orientation")
"""How image files are read, which is one for all."""


@dataclass(frozen=True)
class DataList(Data):
    """Several sources, each in its own format, as one: classes are matched by name.

    Where a source has no validation split a share of it is one; the test split is that of the sources that have one.
    """

    sources: tuple[FileData, ...]
    """Such as `DataFolder("a")`, `YoloData("b/data.yaml")`; a path alone is a `DataFolder`."""
    classes: tuple[tuple[str, str], ...] | Mapping[str, str] = ()
    """`{"old": "new"}`, on the command line `old=new,other=new`: what classes of the sources are called here."""
    class_names: tuple[str, ...] | None = None
    """By label; None: in the order of the sources."""
    num_classes: Annotated[int, Limits(1, 100_000)] | None = None
    """None: as many as the sources have; otherwise checked against it."""

    def __post_init__(self) -> None:
        if isinstance(self.classes, Mapping):
            object.__setattr__(self, "classes", tuple(self.classes.items()))
        if isinstance(self.sources, tuple | list):
            sources = [DataFolder(str(one)) if isinstance(one, str | PurePath) else one for one in self.sources]
            object.__setattr__(self, "sources", tuple(sources))
        super().__post_init__()

    def check(self) -> None:
        if not self.sources:
            raise UserError("sources (): needs at least one")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", clean_class_names(self.class_names, "class_names"))
        for place, source in enumerate(self.sources):
            if not isinstance(source, FileData):
                raise UserError(
                    f"sources.{place}: is a {type(source).__name__}; expected are data in folders, such as DataFolder "
                    "or YoloData, each by itself in one list"
                )
            for name in ("class_names", "num_classes"):
                if getattr(source, name) is not None:
                    raise UserError(f"sources.{place}.{name}: is set for the list as a whole, {name}")
            for name in _SHARED:
                own, first = getattr(source, name), getattr(self.sources[0], name)
                if own != first:
                    raise UserError(f"sources.{place}.{name} {own}: is {first} in sources.0; it must be one for all")
        if len(self.renamed) < len(self.classes):
            raise UserError("classes: a class is renamed twice")
        for old, new in self.renamed.items():
            clean_class_names([new], f"classes: {old} is renamed to")

    @property
    def renamed(self) -> dict[str, str]:
        """Name of a class in the sources -> its name here."""
        return {clean_name(old): clean_name(new) for old, new in dict(self.classes).items()}

    @property
    def unreadable(self) -> Unreadable:
        return self.sources[0].unreadable

    @property
    def prescan(self) -> bool:
        return self.sources[0].prescan

    def options(self, image_bits: int = 16) -> ReadOptions:
        return self.sources[0].options(image_bits)

    def without_prescan(self) -> DataList:
        return replace(self, sources=tuple(source.without_prescan() for source in self.sources))

    def untrained(self) -> DataList:
        return replace(self, sources=tuple(source.untrained() for source in self.sources))

    def split(self, name: str) -> Split:
        """The annotations of all sources. Raises `UserError` for a renamed class that no source has."""
        sources = self.sources
        if name == "test":
            sources = tuple(source for source in sources if "test" in source.layout().splits)
            if not sources:
                raise UserError(f"{name_list([source.folder for source in self.sources])}: none has a test split")
        splits = [source.split(name) for source in sources]
        if name == "train":
            known = {one for split in splits for one in split.annotations.classes.names}
            for old in self.renamed:
                if old not in known:
                    raise UserError(
                        f"data.classes: no source has a class {old!r}, but {name_list(sorted(known))}"
                        f"{did_you_mean(old, known)}"
                    )
        notes = [
            f"{source.folder}: {note}" for source, split in zip(sources, splits, strict=True) for note in split.notes
        ]
        return Split(merged([split.annotations for split in splits], self.renamed), tuple(notes))
