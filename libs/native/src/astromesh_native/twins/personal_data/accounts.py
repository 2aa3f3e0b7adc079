"""Finds bank accounts (IBAN), payment cards and US social security numbers, each by its check digits or its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from astromesh_native.scan_tables import IBAN_LENGTHS
from astromesh_native.spans import Span
from astromesh_native.twins.personal_data.checksums import is_card_number, is_iban

_IBAN_HEAD: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}", re.ASCII)
_IBAN_SEPARATORS: Final = " -\u00a0"
_WITHOUT_SEPARATORS: Final = str.maketrans("", "", _IBAN_SEPARATORS)
_LETTER_OR_DIGIT: Final = re.compile("[A-Za-z0-9]")

_DIGIT_GROUPS: Final = re.compile(r"\d+(?:[ \u00a0.-]\d+)*+", re.ASCII)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_SHORTEST_CARD, _LONGEST_CARD = 13, 19
# As cards print them: 4-4-4-4, 4-6-5, 4-6-4, 4-4-4-4-3, or all together.
_FIRST_GROUP, _MOST_GROUPS = 4, 5

# SSA: no area 000, 666 or 9xx, no group 00, no serial 0000.
_SSN: Final = re.compile(
    r"(?<![\w-])(?!000|666|9)\d{3}(?P<separator>[- ])(?!00)\d{2}(?P=separator)(?!0000)\d{4}(?![\w-])", re.ASCII
)


def ibans(text: str) -> Iterator[Span]:
    """Yields IBANs, written together or in groups, in either case."""
    for head in _IBAN_HEAD.finditer(text):
        length = IBAN_LENGTHS.get(head[0][:2].upper())
        if length is None:
            continue
        window = text[head.start() : head.start() + 2 * length]
        if is_iban(window.translate(_WITHOUT_SEPARATORS)[:length]):
            end = head.start() + _place_after(window, length)
            if not _LETTER_OR_DIGIT.match(text, end):
                yield Span(head.start(), end, "IBAN")


def _place_after(window: str, characters: int) -> int:
    """The place behind so many letters and digits."""
    for place, character in enumerate(window):
        characters -= character not in _IBAN_SEPARATORS
        if characters == 0:
            return place + 1
    return len(window)


def cards(text: str) -> Iterator[Span]:
    """Yields payment card numbers of 13 to 19 digits, also where other groups of digits stand directly beside them."""
    for run in _DIGIT_GROUPS.finditer(text):
        if run.end() - run.start() >= _SHORTEST_CARD:
            yield from _cards_in_run([group.span() for group in _GROUP.finditer(text, *run.span())], text)


def _cards_in_run(groups: Sequence[tuple[int, int]], text: str) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        last = _last_group_of_card(groups, first, text)
        if last is None:
            first += 1
        else:
            yield Span(groups[first][0], groups[last][1], "CREDIT_CARD")
            first = last + 1


def _last_group_of_card(groups: Sequence[tuple[int, int]], first: int, text: str) -> int | None:
    if groups[first][1] - groups[first][0] < _FIRST_GROUP:
        return None
    digits = ""
    for index in range(first, min(first + _MOST_GROUPS, len(groups))):
        start, end = groups[index]
        if len(digits) + end - start > _LONGEST_CARD:
            return None
        digits += text[start:end]
        if len(digits) >= _SHORTEST_CARD and is_card_number(digits):
            return index
    return None


def social_security_numbers(text: str) -> Iterator[Span]:
    """Yields US social security numbers with their separators (bare nine digits are too often something else)."""
    return (Span(*found.span(), "US_SSN") for found in _SSN.finditer(text))
