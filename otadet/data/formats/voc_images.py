"""Which image an XML file of Pascal VOC is about."""

from __future__ import annotations

import os
from pathlib import Path

from otadet.data.formats.folders import Listings, absolute, is_image, stem


class VocImages:
    """The images in a folder, and those below it, by their name with and without its suffix."""

    def __init__(self, folder: Path) -> None:
        root, listings = absolute(folder), Listings()
        self.names: set[str] = set()
        """Relative to the folder."""
        self._by_stem: dict[str, list[str]] = {}
        self._by_last: dict[str, list[str]] = {}
        for place in listings.below(root):
            inner = os.path.relpath(place, root)
            for last in listings.files(place):
                if not is_image(last):
                    continue
                name = last if inner == os.curdir else os.path.join(inner, last)
                self.names.add(name)
                self._by_stem.setdefault(stem(name), []).append(name)
                if inner != os.curdir:
                    self._by_last.setdefault(last, []).append(name)
                    self._by_last.setdefault(stem(last), []).append(name)

    def by_stem(self, key: str) -> str | None:
        """The image that is called so but for its suffix; of several the first."""
        found = self._by_stem.get(key)
        return found[0] if found else None

    def name_of(self, key: str, filename: str) -> str:
        """The name of an image, relative to the folder; where there is none the one that it should have.

        Args:
            key: of the XML file, relative to its folder, without suffix.
            filename: what the XML file says, without folders, perhaps empty.
        """
        same = self._by_stem.get(key, [])
        if len(same) > 1 and (named := [name for name in same if os.path.basename(name) == filename]):
            return named[0]
        if same:
            return same[0]
        inner = os.path.dirname(key)
        beside = os.path.join(inner, filename)
        if filename and beside in self.names:
            return beside
        # A stem may have dots, so that what follows the last one is no suffix: both are looked for.
        for name in (beside, stem(beside)) if filename else ():
            if image := self.by_stem(name):
                return image
        for last in (filename, stem(filename), os.path.basename(key)):
            if last in self.names or self.by_stem(last):
                # The XML files lie in folders, the images do not.
                return last if last in self.names else str(self.by_stem(last))
            found = self._by_last.get(last, [])
            if last and len(found) == 1:
                return found[0]
        return beside if is_image(filename) else f"{beside if filename else key}.jpg"
