"""HTML that takes as long to read as it is long. What reads it is not here."""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = re.compile(r"<(?=[A-Za-z/!?])")
_ENDS: Final = (("<!--", "-->"), ("<![", "]]>"), ("<", ">"))
"""What begins so, and by what it ends."""

_WIDE_SPACE: Final = re.compile(r"[ \t\xa0]{64,}")


def ended(html: str) -> str:
    """The page without what parsers look at again and again: what is begun and never ended is text, and a run of 64
    spaces or more is one.

    For an end that never comes `html.parser` searches the whole rest at every beginning, and `markdownify` looks for a
    line's end from every space of a run: a page of 100 kB took minutes.
    """
    ends = [(start, html.rfind(end)) for start, end in _ENDS]

    def told(opening: re.Match[str]) -> str:
        at = opening.start()
        return "&lt;" if any(at > end and html.startswith(start, at) for start, end in ends) else "<"

    return _WIDE_SPACE.sub(" ", _OPENING.sub(told, html))
