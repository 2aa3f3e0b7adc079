"""Where sentences begin and end in a text, markdown laid aside. Pure, and no parser of any one language.

Headings, code, tables and rules are left out; markers of lists and quotes are cut off, and each list item stands
alone. A sentence ends at . ! ? … (or the full stops of Chinese, Japanese and Hindi), but not after an abbreviation or
an initial.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

from astromesh_native.twins.markdown import Kind, Line, lines

_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]*_`]*(?=\s|$)|[。！？।]+[”’」』）]*")
_NEXT = re.compile(r"\s*+(.)")
_LAST_WORD = re.compile(r"([^\W\d_](?:[\w.]*\w)?)\.$")
_ABBREVIATIONS = frozenset(
    re.findall(r"\S+", "dr mr mrs ms prof st jr sr vs etc e.g i.e eg ie cf al fig vol pp approx inc ltd co dept est")
)


def sentence_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Each sentence as it was written, on one line, and where it starts and ends in `text`."""
    for paragraph in _paragraphs(text):
        yield from _spans(text, paragraph)


def sentence_edges(text: str) -> list[int]:
    """Where sentences begin in `text`, and where they end before what is no sentence, as code or a table; in order."""
    edges: list[int] = []
    last = 0
    for _, start, end in sentence_spans(text):
        if edges and text[last:start].strip():
            edges.append(last)
        edges.append(start)
        last = end
    if edges and text[last:].strip():
        edges.append(last)
    return edges


def _paragraphs(text: str) -> Iterator[list[Line]]:
    """Runs of lines that read on: a blank line, a new list item, or anything that is no prose ends a run."""
    run: list[Line] = []
    for line in lines(text):
        if line.kind is not Kind.TEXT and run:
            yield run
            run = []
        if line.kind in (Kind.TEXT, Kind.ITEM) and line.body_start < line.body_end:
            run.append(line)
    if run:
        yield run


def _spans(text: str, paragraph: list[Line]) -> Iterator[tuple[str, int, int]]:
    """Joins the bodies of the lines by spaces, cuts there, and leads each cut back to its place in the text."""
    joined: list[str] = []
    places = array("q")
    for line in paragraph:
        if joined:
            joined.append(" ")
            places.append(line.body_start - 1)
        joined.append(text[line.body_start : line.body_end])
        places.extend(range(line.body_start, line.body_end))
    body = "".join(joined)
    start = 0
    for past in _ends(body):
        raw = body[start:past].lstrip()
        yield raw, places[past - len(raw)], places[past - 1] + 1
        start = past


def _ends(body: str) -> Iterator[int]:
    """Where sentences end, the last one included; an end never stands right behind a space."""
    for match in _END.finditer(body):
        if match.end() < len(body) and not _goes_on(body, match):
            yield match.end()
    if body:
        yield len(body)


def _goes_on(body: str, match: re.Match[str]) -> bool:
    """True for a full stop that belongs to an abbreviation or an initial, or before a word in lower case."""
    if match.group() != ".":
        return False
    following = _NEXT.match(body, match.end())
    if following is not None and following.group(1).islower():
        return True
    word = _LAST_WORD.search(body, max(0, match.end() - 20), match.end())
    if word is None:
        return False
    name = word.group(1)
    return name.lower() in _ABBREVIATIONS or (len(name) == 1 and name.isupper() and name != "I")
