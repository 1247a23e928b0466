"""Does a file's graph have the inputs and outputs that its metadata promises?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from otadet.errors import UserError
from otadet.export.metadata import OnnxMetadata

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NMS_OUTPUTS = ("boxes", "scores", "labels", "image")


def check_graph(session: InferenceSession, metadata: OnnxMetadata, path: str | Path) -> None:
    """Raise `UserError`, naming `path` and both sides, where the graph says something else than the metadata."""
    inputs = session.get_inputs()
    if [entry.name for entry in inputs] != ["images"] or inputs[0].type != "tensor(float)":
        _refuse(path, f"its inputs are {_listed(inputs)}, and not images alone, in float32")
    height, width = (None, None) if metadata.dynamic_size else metadata.size
    batch = None if metadata.dynamic_batch else 1
    _check_shape(inputs[0].shape, (batch, 3, height, width), "input images", path)

    outputs = {entry.name: entry for entry in session.get_outputs()}
    missing = [name for name in _output_names(metadata) if name not in outputs]
    if missing:
        _refuse(path, f"its outputs are {_listed(list(outputs.values()))}; {missing[0]} is not among them")
    if metadata.nms:
        _check_shape(outputs["boxes"].shape, (None, 4), "output boxes", path)
        return
    anchors = None if metadata.dynamic_size else sum(metadata.level_counts(*metadata.size))
    for name in metadata.raw_outputs:
        last = 4 if name == "boxes" else len(metadata.class_names)
        _check_shape(outputs[name].shape, (batch, anchors, last), f"output {name}", path)


def check_outputs(
    outputs: Mapping[str, Tensor], metadata: OnnxMetadata, shape: tuple[int, ...], path: str | Path
) -> None:
    """Raise `UserError` naming `path` where what came out for an input of that shape (N, 3, H, W) cannot be used."""
    classes = len(metadata.class_names)
    if metadata.nms:
        count = outputs["scores"].numel()
        expected: dict[str, tuple[int, ...]] = {
            "boxes": (count, 4),
            "scores": (count,),
            "labels": (count,),
            "image": (count,),
        }
    else:
        anchors = sum(metadata.level_counts(*shape[2:]))
        number = shape[0]
        expected = dict.fromkeys(metadata.raw_outputs, (number, anchors, classes))
        expected["boxes"] = (number, anchors, 4)
    for name, wanted in expected.items():
        output, kind = outputs[name], torch.int64 if name in ("labels", "image") else torch.float32
        if tuple(output.shape) != wanted or output.dtype != kind:
            found = f"{_times(output.shape)} {output.dtype}"
            _refuse(path, f"output {name} is {found} for an input of {_times(shape)}, and not {_times(wanted)} {kind}")
    if metadata.nms and count:
        for name, number, what in (("labels", classes, "classes"), ("image", shape[0], "images")):
            if not 0 <= outputs[name].min() <= outputs[name].max() < number:
                _refuse(path, f"output {name} has values beyond its {number} {what}")


def _output_names(metadata: OnnxMetadata) -> Sequence[str]:
    return NMS_OUTPUTS if metadata.nms else metadata.raw_outputs


def _check_shape(found: Sequence[int | str | None], wanted: Sequence[int | None], what: str, path: str | Path) -> None:
    """Sides that the graph names, and an output's shape that it leaves open, may be anything; None is wanted of a named
    side of the input, and of any side of an output, as the outputs of a run are looked at again."""
    is_input = what.startswith("input")
    agrees = (not found and not is_input) or len(found) == len(wanted)
    for side, expected in zip(found, wanted, strict=False):
        if isinstance(side, int):
            agrees = agrees and (side == expected or (expected is None and not is_input))
        else:
            agrees = agrees and (expected is None or not is_input)
    if not agrees:
        _refuse(path, f"{what} is {_times(found)} in its graph, but its metadata means {_times(wanted)}")


def _times(shape: Sequence[object]) -> str:
    return " x ".join("any" if side is None else ascii(side).strip("'") for side in shape) or "a single number"


def _listed(entries: Sequence) -> str:
    return ", ".join(f"{ascii(entry.name)[1:-1][:40]} {entry.type}" for entry in entries[:6]) or "none"


def _refuse(path: str | Path, problem: str) -> NoReturn:
    raise UserError(f"{path}: {problem}; export it anew with otadet export")
