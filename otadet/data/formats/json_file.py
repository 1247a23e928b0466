"""Reads JSON files, which are untrusted: whatever is in one, the outcome is plain Python or one error."""

from __future__ import annotations

import json
import reprlib
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from otadet.data.formats.json_stream import parse_json
from otadet.data.image_file import open_handle, shown
from otadet.errors import UserError, reason_of

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def load_json(
    path: Path,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any],
    lists: Mapping[str, Callable[[list[Any], int], None]] = MappingProxyType({}),
) -> Any:
    """What the file holds, in UTF-8, 16 or 32, with or without a byte order mark.

    Args:
        path: the file.
        object_pairs_hook: as in `json.loads`; a `ValueError` of its own ends the reading.
        lists: see `json_stream.parse_json`.

    Raises `UserError` naming the file when it is missing, no regular file, or no JSON.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{shown(path)}: is a folder, a pipe or a device, not an annotation file")
        # A pipe may have taken the file's place in between.
        with open(open_handle(path), "rb") as file:
            return parse_json(file, object_pairs_hook, lists)
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: no such annotation file") from None
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {reason_of(error)}") from error
    except RecursionError:
        raise UserError(f"{shown(path)}: its lists and objects are nested too deeply for an annotation file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{shown(path)}: is not in UTF-8 ({error.reason} at byte {error.start}); save it in UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{shown(path)}: not valid JSON, perhaps cut short: {error}") from error
    except ValueError as error:
        # Numbers of thousands of digits, a path with a NUL, and what the hook has to say.
        raise UserError(f"{shown(path)}: cannot be read: {error}") from error


def brief_value(value: object) -> str:
    """A value of a file for a message: short, in ASCII, so that no text of a file reaches the terminal as it is."""
    return _SHORT.repr(value).encode("ascii", "backslashreplace").decode("ascii")
