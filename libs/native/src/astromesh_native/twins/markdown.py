"""The lines of a markdown text and what each is, with offsets. Enough to chunk and quote by, no renderer.

Read from CommonMark: ATX headings, fenced code, list markers, block quotes; from GFM: table rows. A line inside a
fence is code whatever it looks like; an unclosed fence runs to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|=+[ \t]*)$")
_TABLE_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*$")
_MARKER = re.compile(r"[ \t]*(?:>[ \t]?)*[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?)?")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class Kind(Enum):
    """What a line is."""

    BLANK = auto()
    HEADING = auto()
    CODE = auto()
    TABLE = auto()
    RULE = auto()
    TEXT = auto()
    ITEM = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `start` to `end` with its newline; `body_start` to `body_end` without marker, hashes, white space."""

    kind: Kind
    start: int
    end: int
    body_start: int
    body_end: int
    level: int = 0
    """Of a heading: 1 to 6."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a text: where its line starts, and the titles from the outermost down to its own."""

    start: int
    path: tuple[str, ...]


def lines(text: str) -> Iterator[Line]:
    """The lines of `text` in order; together they are the whole text."""
    fence = ""
    for match in _LINE.finditer(text):
        raw = match.group().rstrip("\r\n")
        opened = _FENCE.match(raw)
        if fence:
            yield _line(Kind.CODE, match, 0, len(raw))
            if opened and opened.group(1).startswith(fence) and not raw[opened.end() :].strip():
                fence = ""
        elif opened:
            fence = opened.group(1)
            yield _line(Kind.CODE, match, 0, len(raw))
        else:
            yield _plain(match, raw)


def headings(text: str) -> list[Heading]:
    """The headings of `text` in order, each with the titles above it."""
    found: list[Heading] = []
    open_titles: list[tuple[int, str]] = []
    for line in lines(text):
        if line.kind is Kind.HEADING:
            title = text[line.body_start : line.body_end]
            open_titles = [entry for entry in open_titles if entry[0] < line.level] + [(line.level, title)]
            found.append(Heading(line.start, tuple(title for _, title in open_titles)))
    return found


def _plain(match: re.Match[str], raw: str) -> Line:
    if not raw.strip():
        return _line(Kind.BLANK, match, 0, 0)
    heading = _HEADING.match(raw)
    if heading:
        body = _unclosed(raw[heading.end() :])
        return _line(Kind.HEADING, match, heading.end(), heading.end() + len(body), len(heading.group(1)))
    if _RULE.match(raw):
        return _line(Kind.RULE, match, 0, len(raw))
    if _TABLE_ROW.match(raw):
        return _line(Kind.TABLE, match, 0, len(raw))
    marker = _MARKER.match(raw)
    past = marker.end() if marker else 0
    return _line(Kind.ITEM if raw[:past].strip(" \t>") else Kind.TEXT, match, past, len(raw))


def _unclosed(title: str) -> str:
    """A title without the hashes that close it; hashes that stand at a word are the word's."""
    open_title = title.rstrip(" \t").rstrip("#")
    return open_title if not open_title or open_title[-1] in " \t" else title


def _line(kind: Kind, match: re.Match[str], body_start: int, body_end: int, level: int = 0) -> Line:
    body = match.group()[body_start:body_end]
    first = match.start() + body_start + len(body) - len(body.lstrip())
    last = first + len(body.strip())
    return Line(kind, match.start(), match.end(), first, last, level)
