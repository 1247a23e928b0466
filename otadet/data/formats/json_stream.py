"""Reads a large JSON object piece by piece, so that a list of millions of entries is never in memory as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

_BYTES_AT_ONCE = 2**20
_ROWS_AT_ONCE = 10_000
_SPACE = " \t\n\r"
_NUMBER_GOES_ON = 3
"""Characters behind what looks like a whole number that may still belong to it."""

Hook = Callable[[list[tuple[str, Any]]], Any]
TakeRows = Callable[[list[Any], int], None]


def parse_json(file: BinaryIO, hook: Hook, lists: Mapping[str, TakeRows]) -> Any:
    """What a file holds, as `json.loads` has it.

    Args:
        file: in UTF-8, 16 or 32, with or without a byte order mark.
        hook: the `object_pairs_hook`; it may be called again for an object that it has had.
        lists: functions (rows, place of the first) that are given the lists under these keys of the outermost object,
            some thousand rows at once; what is returned has an empty list there.

    Raises `json.JSONDecodeError`, `UnicodeDecodeError`, and what the functions raise.
    """
    text = _Text(file, hook)
    value = _outermost(text, hook, lists) if text.peek() == "{" else text.value()
    if text.peek():
        raise text.error("Extra data")
    return value


def _outermost(text: _Text, hook: Hook, lists: Mapping[str, TakeRows]) -> Any:
    pairs: list[tuple[str, Any]] = []
    for _ in text.items("{", "}"):
        if text.peek() != '"':
            raise text.error("Expecting property name enclosed in double quotes")
        key = text.value()
        text.take(":")
        if key in lists and text.peek() == "[":
            _hand_over(text, lists[key])
            pairs.append((key, []))
        elif text.peek() == "[":
            pairs.append((key, [text.value() for _ in text.items("[", "]")]))
        else:
            pairs.append((key, text.value()))
    return hook(pairs)


def _hand_over(text: _Text, take_rows: TakeRows) -> None:
    rows: list[Any] = []
    first = 0
    for _ in text.items("[", "]"):
        rows.append(text.value())
        if len(rows) == _ROWS_AT_ONCE:
            take_rows(rows, first)
            first += len(rows)
            rows = []
    if rows:
        take_rows(rows, first)


class _Text:
    """The text of a file from a place on that moves forward; what lies before it is forgotten."""

    def __init__(self, file: BinaryIO, hook: Hook) -> None:
        start = file.read(4)
        self._encoding = json.detect_encoding(start)
        self._decoder = codecs.getincrementaldecoder(self._encoding)("surrogatepass")
        self._file, self._bytes = file, len(start)
        self._scan = json.JSONDecoder(object_pairs_hook=hook).raw_decode
        self._text, self._place, self._ended = self._decoder.decode(start), 0, False
        self._chars_before = self._lines_before = 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Pass over this character, which must be the next."""
        if self.peek() != character:
            raise self.error(f"Expecting '{character}' delimiter")
        self._place += 1

    def items(self, opening: str, closing: str) -> Iterator[None]:
        """Once for each item between two brackets, which the caller takes; passes over brackets and commas."""
        self.take(opening)
        if self.peek() == closing:
            self._place += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._place += 1
                return
            self.take(",")

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._place)
            except json.JSONDecodeError as error:
                here = self.error(error.msg, error.pos)
                if self._more():
                    continue
                raise here from None
            # A number that ends here, or before the first of `1e+`, may go on.
            if end + _NUMBER_GOES_ON <= len(self._text) or not self._more():
                self._place = end
                return value

    def error(self, problem: str, place: int | None = None) -> json.JSONDecodeError:
        """An error at a place of the text that is held, by default the next, told by its place in the file."""
        place = self._place if place is None else place
        line = self._lines_before + self._text.count("\n", 0, place) + 1
        error = json.JSONDecodeError(problem, "", 0)
        error.args = (f"{problem}: line {line} (char {self._chars_before + place})",)
        return error

    def _more(self) -> bool:
        """Hold more text; False at the end of the file."""
        if self._ended:
            return False
        kept = self._text[self._place :]
        # A value that goes on for long is looked at again from its beginning: each time of twice the length.
        data = self._file.read(max(_BYTES_AT_ONCE, len(kept)))
        try:
            added = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            start = self._bytes + error.start
            raise UnicodeDecodeError(error.encoding, error.object, start, start + 1, error.reason) from None
        if not data:
            self._ended = True
            return False
        self._bytes += len(data)
        self._chars_before += self._place
        self._lines_before += self._text.count("\n", 0, self._place)
        self._text, self._place = kept + added, 0
        return True
