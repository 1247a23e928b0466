"""Checkpoints: files of tensors and plain Python, which therefore load without running anybody's code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from otadet.engine.content import ContentError, check_resumable, checked_content
from otadet.errors import UserError, did_you_mean, reason_of
from otadet.files import atomic_write
from otadet.names import name_list
from otadet.pickle_grammar import MAX_DEPTH, TENSOR_TYPES
from otadet.torch_file import TorchFileError, is_archive, read_torch_file

FORMAT = 2
"""1: flat fields of an experiment in "exp"; 2: its parts as plain data in "parts"."""
MAX_BITS = 1000
"""Of a whole number; the pickle of a longer one needs another instruction."""


def save_checkpoint(path: str | Path, state: Mapping[str, Any], *, previous: str | Path | None = None) -> None:
    """Write `state`, with the format's number and otadet's version added, whole or not at all.

    previous: name for what `path` was until now; at every moment one of the two is a whole file. Raises `TypeError` for
    a value that `load_checkpoint` would refuse later.
    """
    from otadet import __version__

    state = _plain({"format": FORMAT, "otadet": __version__, **state}, "state")
    with atomic_write(path, keep_as=previous) as file:
        torch.save(state, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dict that `save_checkpoint` wrote, its tensors on the CPU; checksums and content are verified.

    Raises `UserError` for a file that is missing, damaged, of another program or of a newer otadet.
    """
    path = Path(path)
    if os.path.isdir(path):
        inside = [file.name for file in checkpoints_in(path)]
        raise UserError(f"{path}: is a folder; name a checkpoint in it ({name_list(inside) or 'it has none'})")
    if not os.path.isfile(path):
        siblings = [str(file) for file in checkpoints_in(path.parent)]
        raise UserError(f"{path}: no such checkpoint{did_you_mean(str(path), siblings)}")
    try:
        if path.stat().st_size and not is_archive(path):
            raise UserError(f"{path}: not a checkpoint of otadet; give one that a training or otadet convert wrote")
        state = read_torch_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from error
    except TorchFileError as error:
        raise UserError(f"{path}: cut short or damaged: {error}; {_what_to_use(path)}") from error
    if not isinstance(state, dict) or "format" not in state or "model" not in state:
        raise UserError(
            f"{path}: not a checkpoint of otadet, but of another program; `otadet convert` makes one of those that it "
            "knows, and weights for a backbone go into the experiment, as model.backbone.weights"
        )
    try:
        if (newer := newer_version(state)) is not None:
            raise UserError(f"{path}: written by a newer otadet ({newer}); update otadet to read it")
        return checked_content(state)
    except ContentError as error:
        raise UserError(f"{path}: {error}; {_what_to_use(path)}") from error


def load_training(path: str | Path, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """`load_checkpoint` of one that a training can be resumed from. Raises `UserError` for any other.

    state: what `load_checkpoint` returned of it, where it was called already.
    """
    state = load_checkpoint(path) if state is None else state
    try:
        check_resumable(state)
    except ContentError as error:
        raise UserError(f"{path}: {error}") from error
    return state


class ReadCheckpoint:
    """What a checkpoint holds, kept for a later use, so that the file is read once.

    path: of the checkpoint. Raises `UserError` as `load_checkpoint` does.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        before = self._version()
        self.state: dict[str, Any] | None = load_checkpoint(path)
        """What `load_checkpoint` returned; None once it was taken: it is too large to be kept for a whole training."""
        self._read = before

    def take(self, path: str | Path) -> dict[str, Any] | None:
        """The content of the checkpoint at `path`, which is forgotten here; None where this is not it, or is no more.

        Another training may have replaced the file meanwhile.
        """
        if self.path != Path(path) or self._version() != self._read:
            return None
        state, self.state = self.state, None
        return state

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def weights_of(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """What a checkpoint, as `load_checkpoint` returns it, is used with: the averaged weights where it has them."""
    return state["ema"] or state["model"]


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run in `folder` goes on from, if it has one: its last.pth, else the one before."""
    path = folder / "last.pth"
    return next((file for file in (path, previous_checkpoint(path)) if os.path.exists(file)), None)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, without the unfinished ones that begin with a dot."""
    try:
        files = list(folder.glob("*.pth"))
    except OSError:
        # Too long a name, a circle of links, no permission: whoever asks wants no more than a hint.
        return []
    return sorted(file for file in files if not file.name.startswith(".") and os.path.isfile(file))


def previous_checkpoint(path: str | Path) -> Path:
    """Where the predecessor of a checkpoint is kept: last.pth -> last.previous.pth."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def newer_version(state: Mapping[str, Any]) -> str | None:
    """The version of otadet that wrote a format newer than this one's, else None. Raises `ContentError`."""
    number, version = state["format"], state.get("otadet")
    if type(number) is not int or number < 1 or not isinstance(version, str) or len(version) > 50:
        raise ContentError("damaged: the format's number or otadet's version is none")
    return ascii(version).strip("'") if number > FORMAT else None


def _what_to_use(path: Path) -> str:
    """What is there in place of a damaged checkpoint."""
    previous = previous_checkpoint(path)
    if os.path.isfile(previous):
        return f"its predecessor {previous} can take its place"
    others = [file.name for file in checkpoints_in(path.parent) if file != path]
    return f"use another checkpoint of the run{f' ({name_list(others)})' if others else ''}"


def _plain(value: Any, where: str, depth: int = 1) -> Any:
    """`value` as it is written: without subclasses, and of a tensor that is part of a larger one only that part."""
    if depth > MAX_DEPTH:
        raise TypeError(f"{where}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int | float | None):
                raise TypeError(f"{where}: a key of a dict is a {type(key).__name__}")
        return {key: _plain(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item, where, depth + 1) for item in value)
    if isinstance(value, Tensor):
        return _dense(value, where)
    if type(value) not in (str, int, float, bool, type(None)):
        raise TypeError(f"{where}: a checkpoint holds tensors and plain Python, not {type(value).__name__}")
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise TypeError(f"{where}: a number of more than {MAX_BITS} bits")
    return value


def _dense(tensor: Tensor, where: str) -> Tensor:
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.dtype not in TENSOR_TYPES:
        raise TypeError(f"{where}: a checkpoint holds dense tensors, not {type(tensor).__name__} of {tensor.dtype}")
    tensor = tensor.detach()
    whole = tensor.numel() * tensor.itemsize == tensor.untyped_storage().nbytes()
    return tensor if whole else tensor.contiguous().clone()
