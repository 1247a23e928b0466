"""The image files of a data set: how they are decoded, and where their pixels are kept once they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from otadet.data.image_names import SimilarNames
from otadet.data.images import ReadOptions, read_reduced
from otadet.data.prescan import size_problem
from otadet.data.reduce import NeededSize, largest_reductions
from otadet.errors import UserError


class ImageCache(Protocol):
    """Keeps decoded images for all processes that have a copy of it."""

    def get(self, index: int) -> np.ndarray | None:
        """A new array with the pixels of an image; None where they are not kept, or no longer whole."""
        ...

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep the pixels, (H, W, 3) uint8, where there is room for them."""
        ...


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """S image files of known sizes."""

    folder: Path
    names: Sequence[str]
    """(S,) relative to `folder`."""
    sizes: np.ndarray
    """(S, 2) int64 height, width in pixels."""
    options: ReadOptions
    reductions: np.ndarray
    """(S,) uint8: 1, 2, 4 or 8, by which height and width of each are divided when it is decoded."""
    cache: ImageCache | None = None

    @classmethod
    def whole(cls, folder: Path, names: Sequence[str], sizes: np.ndarray, options: ReadOptions) -> ImageFiles:
        """Images that are decoded at their size."""
        return cls(folder, names, sizes, options, np.ones(len(sizes), np.uint8))

    def reduced_for(self, needed_size: NeededSize) -> ImageFiles:
        """The same files, decoded as small as is enough for a transform that needs them at a certain size."""
        return replace(self, reductions=largest_reductions(self.sizes, needed_size), cache=None)

    def path(self, index: int) -> Path:
        return self.folder / self.names[index]

    def decoded_sizes(self) -> np.ndarray:
        """(S, 2) int64 height, width in pixels of what `read` returns."""
        return self.sizes // self.reductions[:, None]

    def read(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as large as `reductions` has it; from the cache, where that has it.

        Raises `UserError` naming the file when it cannot be read, or is not of its size.
        """
        if self.cache is None:
            return self._decoded(index)
        image = self.cache.get(index)
        if image is None:
            image = self._decoded(index)
            self.cache.put(index, image)
        return image

    def _decoded(self, index: int) -> np.ndarray:
        path, expected = os.path.join(self.folder, self.names[index]), tuple(self.sizes[index].tolist())
        try:
            image, size = read_reduced(path, int(self.reductions[index]), self.options)
        except UserError as error:
            if not str(error).endswith("no such image file"):
                raise
            raise UserError(f"{error}{SimilarNames(self.folder).hint(self.names[index])}") from error
        if size != expected:
            raise UserError(size_problem(path, size, expected, self.options))
        return image
