"""Which characters are letters here, for regular expressions. By tables of ours, so that Unicode's version is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from astromesh_native.scan_tables import NO_LETTERS


def _beyond_ascii() -> Iterator[str]:
    first = 0x80
    for low, high in NO_LETTERS:
        if first < low:
            yield f"{chr(first)}-{chr(low - 1)}"
        first = high + 1


BEYOND_ASCII: Final = "".join(_beyond_ascii())
"""The letters beyond ASCII, as ranges to stand within brackets."""

LETTERS_AND_DIGITS: Final = f"A-Za-z0-9{BEYOND_ASCII}"
