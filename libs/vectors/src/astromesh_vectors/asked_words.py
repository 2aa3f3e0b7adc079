"""The words of a question that are looked for. Pure; how words are compared is each store's."""

from __future__ import annotations

import re
from typing import Final

from astromesh_vectors.nearest import STOP_WORDS

MOST_WORDS: Final = 100
"""Different words of a question that are looked for, from its beginning."""

_AROUND = ".,;:!?()'"

_WORD = re.compile(r"[^\s\0\"]+")


def asked_words(text: str) -> list[str]:
    """The words of a question, each once, in order.

    Words without a meaning of their own are left out unless there are no others: most passages have them, so they cost
    the most and decide nothing.
    """
    words = [word for word in dict.fromkeys(_WORD.findall(text)) if any(letter.isalnum() for letter in word)]
    telling = [word for word in words if word.strip(_AROUND).casefold() not in STOP_WORDS]
    return (telling or words)[:MOST_WORDS]
