"""What every reader makes of a document, and how bytes become characters."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import Final

MOST_CHARACTERS: Final = 10_000_000
"""Of one document's text. A longer one is no document but a data set: split it."""

_MARKS: Final = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, and halves of characters, which some PDF and JSON files hold."""


class Unreadable(Exception):
    """This document cannot be ingested; the message says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a document. Positions of its passages count characters of it."""

    text: str
    markdown: bool = False
    """Headings stand in it as Markdown has them."""
    pages: tuple[int, ...] = ()
    """Where each page begins; empty where there are none."""


def decoded(data: bytes, charset: str = "") -> str:
    """The text of bytes: by their byte order mark, else by the charset that was told, else as UTF-8.

    Raises Unreadable for anything else: a guess would put wrong letters into the index.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data:
        raise Unreadable("is binary: it holds a zero byte")
    encoding = encoding or _known(charset) or "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding.startswith("utf-8") else encoding
        raise Unreadable(f"is not {name}: byte {error.start}") from error


def bounded(text: Text) -> Text:
    """The text, with a mark in place of each character that no store keeps. Raises Unreadable for one too long."""
    if len(text.text) > MOST_CHARACTERS:
        raise Unreadable(f"has {len(text.text)} characters; a document may have {MOST_CHARACTERS}")
    return replace(text, text=_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text.text))


def _known(charset: str) -> str:
    try:
        return codecs.lookup(charset).name if charset else ""
    except LookupError as error:
        raise Unreadable(f"names a charset that is not known: {charset[:40]!r}") from error
