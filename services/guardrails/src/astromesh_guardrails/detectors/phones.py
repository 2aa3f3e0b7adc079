"""Finds telephone numbers. Candidates are cut out here; the numbering plans are those of the `phonenumbers` library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from astromesh_core.errors import InvalidInput
from astromesh_guardrails.spans import Span

# E.164 allows 15 digits ("00" in front of them makes 17); fewer than 7 are not told from any other number.
_FEWEST_DIGITS, _MOST_DIGITS = 7, 17
_MOST_GROUPS = 7
# What is grouped like a North American number counts as one, whether its area code is given out or not (555 is not).
_NORTH_AMERICA = frozenset({"US", "CA"})
_NORTH_AMERICAN_GROUPS = frozenset({(3, 3, 4), (1, 3, 3, 4)})
# 2026-01-31 12:00 has the digits of a number in more than one country.
_DATE = (4, 2, 2)
_RUN = re.compile(r"\d+(?:[ \u00a0()./-]{1,3}\d+)*+", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)


def phones(text: str, countries: Sequence[str]) -> Iterator[Span]:
    """Yields telephone numbers: international ones, and valid national ones of the `countries` (ISO 3166 alpha-2).

    The library's metadata loads with the first candidate, not before.
    """
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _FEWEST_DIGITS:
            yield from _phones_in_run(text, [group.span() for group in _GROUP.finditer(text, *run.span())], countries)


def check_country(country: str) -> None:
    """Raises InvalidInput for a country that has no numbering plan."""
    _national_plan(country)


def _phones_in_run(text: str, groups: Sequence[tuple[int, int]], countries: Sequence[str]) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        start = groups[first][0]
        plus = _plus_before(text, start)
        last = _last_group_of_phone(text, groups, first, countries if plus is None else None)
        if last is None:
            first += 1
        else:
            yield Span(start if plus is None else plus, groups[last][1], "PHONE")
            first = last + 1


def _plus_before(text: str, start: int) -> int | None:
    while start > 0 and text[start - 1] in "( ":
        start -= 1
    return start - 1 if start > 0 and text[start - 1] == "+" else None


def _last_group_of_phone(
    text: str, groups: Sequence[tuple[int, int]], first: int, countries: Sequence[str] | None
) -> int | None:
    """Returns the last group of the longest number that begins at `first`; no countries: a plus stands before it."""
    found = None
    digits = ""
    lengths: tuple[int, ...] = ()
    for index in range(first, min(first + _MOST_GROUPS, len(groups))):
        start, end = groups[index]
        if len(digits) + end - start > _MOST_DIGITS:
            break
        digits += text[start:end]
        lengths += (end - start,)
        if len(digits) >= _FEWEST_DIGITS and _is_phone(digits, lengths, countries):
            found = index
    return found


def _is_phone(digits: str, lengths: tuple[int, ...], countries: Sequence[str] | None) -> bool:
    if countries is None:
        return _is_possible(f"+{digits}")
    if digits.startswith("00"):
        return _is_possible(f"+{digits[2:]}")
    if lengths in _NORTH_AMERICAN_GROUPS and not _NORTH_AMERICA.isdisjoint(countries):
        return len(lengths) == 3 or digits.startswith("1")
    if lengths[:3] == _DATE and digits[:2] in ("19", "20"):
        return False
    return any(_may_be_national(digits, country) and _is_valid(digits, country) for country in countries)


@cache
def _national_plan(country: str) -> tuple[str, frozenset[int], re.Pattern[str]]:
    """Returns a country's national prefix ("" where it has none), the lengths of its numbers and their shape."""
    from phonenumbers import PhoneMetadata

    plan = PhoneMetadata.metadata_for_region(country)
    if plan is None or plan.general_desc is None:
        raise InvalidInput(f"{country} has no numbering plan: name a country by its ISO 3166 code, as in US")
    shape = re.compile(plan.general_desc.national_number_pattern or "", re.ASCII)
    return plan.national_prefix or "", frozenset(plan.general_desc.possible_length), shape


def _may_be_national(digits: str, country: str) -> bool:
    """Tells cheaply what most digits fail: whether the country's plan has numbers of this length and shape at all."""
    prefix, lengths, shape = _national_plan(country)
    written = (digits, digits.removeprefix(prefix)) if prefix and digits.startswith(prefix) else (digits,)
    return any(len(number) in lengths and shape.fullmatch(number) for number in written)


def _is_valid(number: str, country: str) -> bool:
    from phonenumbers import NumberParseException, is_valid_number, parse

    try:
        return is_valid_number(parse(number, country))
    except NumberParseException:
        return False


def _is_possible(number: str) -> bool:
    """Tells whether a number with a plus has its country's length: who writes the plus means a telephone number."""
    from phonenumbers import NumberParseException, is_possible_number, parse

    try:
        return is_possible_number(parse(number, None))
    except NumberParseException:
        return False
