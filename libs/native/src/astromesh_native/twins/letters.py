"""Which characters are letters here, for regular expressions. By tables of ours, so that Unicode's version is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from astromesh_native.scan_tables import NO_LETTERS, UNSPACED


def _between(ranges: Iterable[tuple[int, int]]) -> str:
    """What stands between these ranges of characters beyond ASCII, as ranges to stand within brackets."""
    parts, first = list[str](), 0x80
    for low, high in sorted(ranges):
        if first < low:
            parts.append(f"{chr(first)}-{chr(low - 1)}")
        first = max(first, high + 1)
    return "".join(parts)


BEYOND_ASCII: Final = _between(NO_LETTERS)
LETTERS_AND_DIGITS: Final = f"A-Za-z0-9{BEYOND_ASCII}"
SPACED: Final = f"A-Za-z0-9_{_between((*NO_LETTERS, *UNSPACED))}"
"""What words are made of in scripts that put spaces between them."""
