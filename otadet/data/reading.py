"""Reads the samples of a data set, and leaves out those that cannot be read, where that is wanted."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Protocol

from otadet.data.batch import Packer
from otadet.data.sample import Sample
from otadet.data.transforms.result import checked
from otadet.data.view import View, has_views
from otadet.errors import UserError

_NO_FAULT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class SampleSource(Protocol):
    """What the loaders need of a data set.

    It may also have `sizes`, (S, 2) height, width of the files in pixels: to know what belongs together unread. And it
    may be a `ViewSource`.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Reading:
    """How samples of `source` are read for one batch.

    An image is read when its sample is, or later, when a view of it is drawn: in both cases it may turn out to be
    unreadable. `unreadable` then gets an entry, index -> what is wrong, with `skip`; else the error is raised.
    """

    source: SampleSource
    skip: bool
    unreadable: dict[int, str]

    def sample(self, index: int) -> Sample | None:
        """None for an image that is left out."""
        if index in self.unreadable:
            return None
        try:
            sample = self.source.sample(index)
        except UserError as error:
            self._leave_out(index, error)
            return None
        return sample if has_views(self.source) else checked(self.source, sample)

    def added(self, packer: Packer, view: View, index: int) -> bool:
        """Draw and pack a view of the image `index`. False, if that is left out."""
        try:
            packer.add(view)
        except UserError as error:
            self._leave_out(index, error)
            return False
        return True

    def _leave_out(self, index: int, error: UserError) -> None:
        if not self.skip or getattr(error.__cause__, "errno", None) in _NO_FAULT_OF_THE_FILE:
            raise error
        self.unreadable[index] = str(error)
