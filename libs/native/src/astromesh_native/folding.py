"""Simple case folding (Unicode, CaseFolding.txt, statuses C and S): one character for one character, so places stay."""

from __future__ import annotations

from functools import cache
from typing import Final

_END: Final = 0x1F000
"""No letter with case stands behind it."""
_BLOCK: Final = 256


@cache
def simple_folds() -> dict[int, int]:
    """What each code point that changes becomes, by this Python's version of Unicode. Takes 20 ms once."""
    blocks = (range(first, first + _BLOCK) for first in range(0, _END, _BLOCK))
    changing = (block for block in blocks if (text := "".join(map(chr, block))).casefold() != text)
    return {code: folded for block in changing for code in block if (folded := _folded(chr(code))) != code}


def fold(text: str) -> str:
    """The text without a difference of case, as long as before."""
    return text.lower() if text.isascii() else text.translate(simple_folds())


def _folded(character: str) -> int:
    full = character.casefold()
    if len(full) == 1:
        return ord(full)
    # Where full folding makes two of one, simple folding is what lower case is, if that is one.
    lower = character.lower()
    return ord(lower) if len(lower) == 1 else ord(character)
