"""Reads YAML files, which are untrusted: lists and mappings of texts, or one error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otadet.data.formats.json_file import brief_value
from otadet.data.formats.text_file import read_text
from otadet.data.image_file import shown
from otadet.errors import UserError

_BYTES_AT_MOST = 2**21
_DEPTH_AT_MOST = 20
_NULL = ("", "~", "null", "Null", "NULL")


def load_yaml(path: Path) -> Any:
    """What the file holds. Every scalar is a text as it is written, so that a class called `no` keeps its name; one
    without quotes that YAML takes for nothing (`null`, `~`, or no text) is None.

    Raises `UserError` naming the file when it is missing, no YAML, has a key twice, or has aliases, with which a small
    file can stand for any amount of data.
    """
    import yaml

    text = read_text(path, "YAML file", _BYTES_AT_MOST)
    try:
        events = iter(yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)))
        tree = [_node(event, events, 0) for event in events if not _is_frame(event)]
    except yaml.YAMLError as error:
        raise UserError(f"{shown(path)}: not valid YAML: {_one_line(error)}") from error
    except ValueError as error:
        raise UserError(f"{shown(path)}: {error}") from error
    if len(tree) > 1:
        raise UserError(f"{shown(path)}: has {len(tree)} YAML documents; expected is one")
    return tree[0] if tree else None


def _is_frame(event: Any) -> bool:
    return type(event).__name__ in ("StreamStartEvent", "StreamEndEvent", "DocumentStartEvent", "DocumentEndEvent")


def _node(event: Any, events: Iterator[Any], depth: int) -> Any:
    """The node that begins with `event`; takes its other events from `events`."""
    line = event.start_mark.line + 1
    if depth > _DEPTH_AT_MOST:
        raise ValueError(f"line {line}: is nested too deeply for a description of data")
    kind = type(event).__name__
    if kind == "AliasEvent":
        raise ValueError(f"line {line}: has an alias (*), which is not read; write its value out")
    if kind == "ScalarEvent":
        return None if event.implicit[0] and event.value in _NULL else event.value
    if kind == "SequenceStartEvent":
        return [_node(inner, events, depth + 1) for inner in _until(events, "SequenceEndEvent")]
    found: dict[str, Any] = {}
    for inner in _until(events, "MappingEndEvent"):
        line = inner.start_mark.line + 1
        key = _node(inner, events, depth + 1)
        if isinstance(key, list | dict):
            raise ValueError(f"line {line}: a key is a list or a mapping; expected is a name or a number")
        key = key or ""
        if key in found:
            raise ValueError(f"line {line}: has the key {brief_value(key)} twice")
        found[key] = _node(next(events), events, depth + 1)
    return found


def _until(events: Iterator[Any], end: str) -> Iterator[Any]:
    """The events up to the one that ends this list or mapping; each may take further ones for what is in it."""
    while type(event := next(events)).__name__ != end:
        yield event


def _one_line(error: Exception) -> str:
    return ascii(" ".join(str(error).split()))[1:-1][:300]
