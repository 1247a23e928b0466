"""Damaged and malicious checkpoints: the same content, or one `UserError`."""

from __future__ import annotations

import copy
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.trainer import Trainer
from otadet.engine.weights import put_weights
from otadet.errors import UserError
from otadet.optim.optimizer import AdamW
from tests.helpers.toy_training import ToyModel, toy_trainer


def trainer_in(folder: Path) -> Trainer:
    torch.manual_seed(0)
    model = ToyModel()
    optimizer = AdamW(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model)
    experiment = {"lr": 0.1, "steps": (1, 2), "mean": (1.0, 2.0, 3.0), "name": None}
    options = {"iterations": 3, "ema_decay": 0.9, "parts": experiment, "class_names": ["cat", "dog"]}
    return toy_trainer(folder, model=model, optimizer=optimizer, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a checkpoint of a training that has everything."""
    folder = tmp_path_factory.mktemp("run")
    assert trainer_in(folder).train()
    return folder


@pytest.fixture(scope="module")
def content(folder) -> dict[str, Any]:
    return load_checkpoint(folder / "last.pth")


def as_plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return {key: as_plain(part) for key, part in value.items()}
    return [as_plain(part) for part in value] if isinstance(value, list | tuple) else value


def loads_as(content: Any, path: Path) -> bool:
    """Whether the file at `path` either holds this content or is refused by name."""
    loaded: list[Any] = []
    message = message_of(lambda: loaded.append(load_checkpoint(path)))
    return as_plain(loaded) == as_plain([content]) if message is None else str(path) in message


def message_of(call: Callable[[], object]) -> str | None:
    """The message of the `UserError` that `call` ends in."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


@settings(max_examples=150)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing(folder, content, position, bit):
    data = bytearray((folder / "last.pth").read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    flipped = folder / "flipped.pth"
    flipped.write_bytes(data)
    assert loads_as(content, flipped)


@settings(max_examples=150)
@given(
    start=st.floats(0, 1, exclude_max=True), length=st.integers(1, 5000), kind=st.sampled_from(["zeros", "cut", "gone"])
)
def test_a_damaged_stretch_is_noticed_or_changes_nothing(folder, content, start, length, kind):
    data = (folder / "last.pth").read_bytes()
    first = int(start * len(data))
    rest = {"zeros": bytes(len(data[first : first + length])) + data[first + length :], "cut": b""}
    damaged = folder / "damaged.pth"
    damaged.write_bytes(data[:first] + rest.get(kind, data[first + length :]))
    assert loads_as(content, damaged)


@settings(max_examples=150)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 6), st.binary(max_size=4)), min_size=1, max_size=3
    )
)
def test_an_edited_pickle_with_right_checksums_loads_or_is_one_error(folder, edits):
    with zipfile.ZipFile(folder / "last.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("/data.pkl"))
    for place, removed, added in edits:
        first = int(place * len(members[name]))
        members[name] = members[name][:first] + added + members[name][first + removed :]
    path = folder / "edited.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    message = message_of(lambda: go_on(folder, path))
    assert message is None or ("edited.pth" in message and message.replace("\n", " ").isprintable())


def paths(value: Any, here: tuple = ()) -> list[tuple]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, part in parts for path in paths(part, (*here, key)))]


TENSORS = [
    torch.zeros(()),
    torch.zeros(3),
    torch.full((2, 4), torch.nan),
    torch.full((2,), torch.inf),
    torch.zeros(5056, dtype=torch.uint8),
    torch.ones(16, dtype=torch.bool),
    torch.tensor([-1.0] * 4),
    torch.empty(0),
]
VALUES = st.one_of(
    st.sampled_from([None, True, -1, 0, 1, 10**15, -(10**30), 1e308, math.nan, math.inf, "", "x", "\x1b[31m", "a\nb"]),
    st.sampled_from([[], {}, (), [None], [[]], {"": None}, {1: 2}, ["cat", "cat"], ["cat", 1], "x" * 5000]),
    st.sampled_from(TENSORS),
    st.recursive(st.none() | st.integers(-5, 10**6) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)),
)


@settings(max_examples=150)
@given(data=st.data())
def test_changed_content_resumes_or_is_one_error(folder, content, data):
    """Values replaced, removed and added anywhere; what passes is trained on."""
    changed = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(paths(changed)[1:]))
        target = changed
        for parent in parents:
            target = target[parent]
        change = data.draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "replace":
            target[key] = copy.deepcopy(data.draw(VALUES))
        elif change == "remove":
            del target[key]
        elif isinstance(target, dict):
            target[data.draw(st.sampled_from(["new", 7, "", "exp_avg"]))] = copy.deepcopy(data.draw(VALUES))
        else:
            target.append(copy.deepcopy(data.draw(VALUES)))
    path = folder / "changed.pth"
    torch.save(changed, path)
    for use in (detect, go_on):
        message = message_of(lambda use=use: use(folder, path))
        assert message is None or ("changed.pth" in message and message.replace("\n", " ").isprintable())


def detect(folder: Path, path: Path) -> None:
    put_weights(ToyModel(), path, load_checkpoint(path))


def go_on(folder: Path, path: Path) -> None:
    trainer = trainer_in(folder / "again")
    trainer.resume(path)
    assert trainer.train()
