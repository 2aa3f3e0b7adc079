"""Text as a model reads it: without invisible characters, and with plain letters for those that only look different.

Attacks are written in full-width or mathematical letters, with zero-width spaces between, or wholly in invisible tag
characters (https://www.unicode.org/reports/tr39/, Unicode block Tags), to pass filters that the model then undoes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

_DISGUISED: Final = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\uff01-\uff5e\u2460-\u24ff\U0001d400-\U0001d7ff\U000e0020-\U000e007e]"
)
_TAGS: Final = 0xE0000


class Shown(NamedTuple):
    """What is to be read, and where each of its characters stands in the text; None where it reads as it stands."""

    text: str
    places: Sequence[int] | None = None

    def place(self, index: int) -> int:
        """Where the character stands in the text."""
        return index if self.places is None else self.places[index]


def undisguised(text: str) -> Shown:
    """The text as it reads. One that has nothing to hide, which is nearly every one, costs a look."""
    if text.isascii() or not _DISGUISED.search(text):
        return Shown(text)
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        for plain in _plain(letter):
            letters.append(plain)
            places.append(place)
    return Shown("".join(letters), places)


def _plain(letter: str) -> str:
    code = ord(letter)
    if _TAGS + 0x20 <= code <= _TAGS + 0x7E:
        return chr(code - _TAGS)
    if unicodedata.category(letter) == "Cf":
        return ""
    return unicodedata.normalize("NFKC", letter)
