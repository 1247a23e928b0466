"""The start of a fine-tuning: what of a checkpoint becomes part of another network, class by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from otadet.engine.checkpoint import weights_of
from otadet.engine.weights import misfit, without_counters
from otadet.errors import UserError
from otadet.names import name_list

CLASS_LAYER = "logits"
"""What networks call the layer, or the layers per level, that has an output per class."""


@dataclass(frozen=True)
class Adopted:
    """What became of the weights of a checkpoint, for the log."""

    tensors: int
    """Taken over as they are."""
    of: int
    """Tensors that the network has."""
    kept: tuple[str, ...]
    """Classes whose rows of the class layer were taken over."""
    new: tuple[str, ...]
    """Classes whose rows start anew."""
    misfit: str
    """What else does not fit; "" where all does."""

    def __str__(self) -> str:
        parts = [f"{self.tensors} of the network's {self.of} tensors taken over"]
        if self.new:
            kept = f"{name_list(self.kept)} kept by name, " if self.kept else ""
            parts.append(f"of the class layer {kept}{name_list(self.new)} from scratch")
        elif self.kept:
            parts.append("of the class layer the rows of its classes by name")
        return "; ".join([*parts, *([self.misfit] if self.misfit else [])])


def adopt(model: nn.Module, path: object, state: Mapping[str, Any], class_names: Sequence[str]) -> Adopted:
    """Put what fits of a checkpoint's weights, the averaged ones where it has them, into a network of other classes.

    All tensors of the same name and shape are taken over. Of those of the class layer, where the classes are not the
    same in the same order, the rows of the classes that have the same name, in upper or lower case; the other rows keep
    the values that they have.

    Args:
        model: changed in place.
        path, state: the checkpoint, and what `load_checkpoint` returned of it.
        class_names: (C,) of `model`.

    Raises `UserError` where nothing fits.
    """
    weights = weights_of(state)
    own = model.state_dict()
    trained = list(state["class_names"])
    layer = set() if trained == list(class_names) else class_tensors(own)
    taken = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and name not in layer and tensor.shape == own[name].shape
    }
    if not without_counters(taken):
        raise UserError(f"{path}: no tensor of it fits the experiment's model: {misfit(model, weights)}")
    rows = rows_by_name(trained, class_names)
    fitting = {
        name: name in weights and _fits_but_rows(own[name], weights[name], len(trained), len(class_names))
        for name in layer
    }
    # A bias is of no use without its weight.
    halves = {_module_of(name) for name, fits in fitting.items() if not fits}
    by_row = {
        name: _with_rows(own[name], weights[name], rows, len(trained), len(class_names))
        for name in sorted(layer)
        if _module_of(name) not in halves
    }
    model.load_state_dict({**taken, **by_row}, strict=False)
    kept = {new for new, _ in rows} if by_row else set()
    return Adopted(
        tensors=len(taken),
        of=len(own),
        kept=tuple(name for row, name in enumerate(class_names) if layer and row in kept),
        new=tuple(name for row, name in enumerate(class_names) if layer and row not in kept),
        misfit=misfit(model, weights, without=by_row),
    )


def class_tensors(names: Iterable[str]) -> set[str]:
    """Those of the names of tensors that are of the class layer."""
    return {name for name in names if CLASS_LAYER in name.split(".")}


def has_all_of(state: Mapping[str, Any], model: nn.Module, part: str) -> bool:
    """Whether a checkpoint has every tensor of one of the network's children, in its shape."""
    weights = weights_of(state)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(f"{part}.")}
    return all(name in weights and weights[name].shape == own[name].shape for name in without_counters(own))


def rows_by_name(trained: Sequence[str], class_names: Sequence[str]) -> list[tuple[int, int]]:
    """(row, row of the checkpoint) of every class that has a name of `trained`; exactly, or else but for its case."""
    exact = {name: row for row, name in reversed(list(enumerate(trained)))}
    alike = {name.casefold(): row for row, name in reversed(list(enumerate(trained)))}
    found = ((row, exact.get(name, alike.get(name.casefold()))) for row, name in enumerate(class_names))
    return [(row, old) for row, old in found if old is not None]


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _fits_but_rows(own: Tensor, theirs: Tensor, trained: int, classes: int) -> bool:
    """Both have a row per class, or one per class of each of equally many anchors."""
    if not (own.dim() and theirs.dim() and classes):
        return False
    anchors = own.shape[0] // classes
    rows = anchors * classes, anchors * trained
    return own.shape[1:] == theirs.shape[1:] and (own.shape[0], theirs.shape[0]) == rows


def _with_rows(own: Tensor, theirs: Tensor, rows: Sequence[tuple[int, int]], trained: int, classes: int) -> Tensor:
    """`own` with rows of `theirs`: (row, row of theirs), of each anchor of a location alike."""
    changed = own.clone()
    by_anchor, their_anchors = changed.unflatten(0, (-1, classes)), theirs.unflatten(0, (-1, trained))
    for row, other in rows:
        by_anchor[:, row] = their_anchors[:, other].to(own)
    return changed
