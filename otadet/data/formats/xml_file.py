"""Reads XML files, which are untrusted: elements without entities of their own, or one error."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, XMLParser

from otadet.data.formats.text_file import unmarked
from otadet.data.image_file import shown
from otadet.errors import UserError

LARGEST = 2**24
"""Bytes of the largest file that should be read."""
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_CODE_PAGES = ("iso-8859", "iso8859", "latin", "windows-", "cp", "gb", "big5", "euc", "shift", "koi8", "mac")
"""Beginnings of the encodings that are read besides Unicode's. Where a file is said to be in UTF-16, and begins with
that in single bytes, it is not."""


def parse_xml(path: str | Path, data: bytes) -> Element:
    """The root element of a file, given its bytes.

    Raises `UserError` naming the file, and the line, when it is no XML, or has a document type declaration, which could
    define entities that stand for other files, or for any amount of text.
    """
    data = _in_utf8(path, data)
    if b"<!DOCTYPE" in data:
        raise UserError(f"{shown(path)}: has a document type declaration (<!DOCTYPE>), which is not read; remove it")
    # The encoding is given, since one that the file declares could hide what was looked for above.
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(data)
        return parser.close()
    except ParseError as error:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise UserError(
                f"{shown(path)}: is not in UTF-8 ({wrong.reason} at byte {wrong.start}), and names no other encoding; "
                "save it in UTF-8"
            ) from error
        raise UserError(f"{shown(path)}: not valid XML, perhaps cut short: {error}") from error


def _in_utf8(path: str | Path, data: bytes) -> bytes:
    data, encoding = unmarked(data)
    if encoding is None:
        declared = _DECLARED.match(data[:400])
        encoding = declared[1].decode("ascii").lower() if declared else "utf-8"
        if not encoding.startswith(_CODE_PAGES):
            return data
    elif encoding == "utf-8":
        return data
    try:
        return data.decode(encoding).encode("utf-8")
    except (LookupError, UnicodeError) as error:
        raise UserError(
            f"{shown(path)}: cannot be read in its encoding {encoding} ({error}); save it in UTF-8"
        ) from None
