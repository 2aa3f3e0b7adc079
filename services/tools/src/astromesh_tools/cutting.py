"""How much of a result a model reads, and what it is told of the rest. Pure; keeping the whole is the service's."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import orjson

from astromesh_core.events.token_estimates import text_tokens

DEFAULT_BYTES: Final = 100_000
"""Of a result: about 25,000 tokens of English."""

MOST_KEPT_CHARACTERS: Final = 16_000_000
"""Of the whole that is kept of a result that was cut."""

_CHARACTERS_A_TOKEN: Final = 64
"""No text has more, white space aside."""


@dataclass(frozen=True, slots=True)
class ResultLimit:
    """In bytes of UTF-8 or in tokens; without either, the default."""

    most_bytes: int | None = None
    most_tokens: int | None = None

    def fitting(self, text: str) -> int:
        """How many characters of the text, from its beginning, are within the limit."""
        if self.most_tokens is not None:
            return _fitting_tokens(text, self.most_tokens)
        most = self.most_bytes or DEFAULT_BYTES
        if len(text) * 4 <= most:
            return len(text)
        return len(text.encode()[:most].decode(errors="ignore"))


BY_HAND: Final = ResultLimit(8_000_000)
"""Nobody's context is filled by a call by hand; a reply has its own limit."""


def _fitting_tokens(text: str, most: int) -> int:
    longest = min(len(text), most * _CHARACTERS_A_TOKEN)
    if text_tokens(text[:longest]) <= most:
        return longest
    return bisect_right(range(1, longest + 1), most, key=lambda length: text_tokens(text[:length]))


def cut_off(text: str, count: int, path: str, reader: str) -> str:
    """The first characters of a text, and a line that says what is missing and how it is read: by the tool `reader`, of
    the call at the path; "" where there is none. It is no instruction: models take none from a result."""
    told = f"{text[:count]}\n[cut: these are the first {count} of {len(text)} characters"
    if not reader:
        return f"{told}; the others are left out]"
    arguments = orjson.dumps({"path": path, "start": count}).decode()
    return f"{told}; {reader} with {arguments} reads on]"
