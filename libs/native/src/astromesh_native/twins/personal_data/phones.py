"""Finds telephone numbers: international ones by their calling code, national ones by the plans that are given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from astromesh_native.calling_codes import CALLING_CODES
from astromesh_native.numbering import NumberingPlan
from astromesh_native.spans import Span

# E.164 allows 15 digits ("00" in front of them makes 17); fewer than 7 are not told from any other number.
_FEWEST_DIGITS, _MOST_DIGITS = 7, 17
_MOST_GROUPS: Final = 7
_LONGEST_CALLING_CODE: Final = 3
_NORTH_AMERICAN_GROUPS: Final = ((3, 3, 4), (1, 3, 3, 4))
_NORTH_AMERICAN_WRITTEN: Final = (*_NORTH_AMERICAN_GROUPS, (3, 7), (1, 3, 7), (10,), (1, 10), (11,))
_SOCIAL_SECURITY_GROUPS: Final = (3, 2, 4)
_RUN: Final = re.compile(r"\d+(?:[ \u00a0()./-]{1,3}\d+)*+", re.ASCII)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_PLUS: Final = re.compile(r"(?<![\w+])\+[( ]{0,2}\Z", re.ASCII)
_EXTENSION: Final = re.compile(r"(?:x|ext)\.? ?\d", re.ASCII | re.IGNORECASE)
_WORD: Final = re.compile(r"\w", re.ASCII)
# What makes one group of digits part of something else: a fraction, a path, an anchor, an identifier.
_TIED_BEFORE: Final = re.compile(r"(?:[#/\\]|\w[.-])\Z", re.ASCII)
_TIED_AFTER: Final = re.compile(r"-\w|\.\d", re.ASCII)

Groups = Sequence[tuple[int, int]]


def phones(text: str, plans: Sequence[NumberingPlan]) -> Iterator[Span]:
    """Yields telephone numbers: international ones, and national ones of the plans."""
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _FEWEST_DIGITS:
            yield from _phones_in_run(text, [group.span() for group in _GROUP.finditer(text, *run.span())], plans)


def check(plans: Sequence[NumberingPlan]) -> None:
    """Compiles the shapes of the plans. Raises ValueError for one that is no regular expression."""
    for plan in plans:
        for shape in plan.shapes:
            _shape(shape)


def _phones_in_run(text: str, groups: Groups, plans: Sequence[NumberingPlan]) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        start = groups[first][0]
        plus = _PLUS.search(text, max(0, start - 3), start)
        last = _last_group_of_phone(text, groups, first, None if plus else plans)
        if last is None:
            first += 1
        else:
            start, end = plus.start() if plus else start, groups[last][1]
            bracketed = text[max(0, start - 1) : start] == "(" and ")" in text[start:end]
            yield Span(start - bracketed, end, "PHONE")
            first = last + 1


def _last_group_of_phone(text: str, groups: Groups, first: int, plans: Sequence[NumberingPlan] | None) -> int | None:
    """The last group of the longest number that begins at `first`; no plans: a plus stands before it."""
    found = None
    digits = ""
    lengths: tuple[int, ...] = ()
    for index in range(first, min(first + _MOST_GROUPS, len(groups))):
        start, end = groups[index]
        if len(digits) + end - start > _MOST_DIGITS:
            break
        digits += text[start:end]
        lengths += (end - start,)
        if len(digits) < _FEWEST_DIGITS:
            continue
        if plans is None or digits.startswith("00"):
            if _is_international(digits if plans is None else digits[2:]):
                found = index
        elif (
            _is_national(digits, lengths, plans)
            and _stands_alone(text, groups[first][0], end, len(lengths))
            and not _is_torn(text, groups, first, index)
            and not _is_grouped_otherwise(text, groups[first : index + 1], plans)
        ):
            found = index
    return found


def _is_international(digits: str) -> bool:
    """Whether what follows the calling code has a length of its country, its trunk zero, as in +44 (0)20, apart."""
    for length in range(1, _LONGEST_CALLING_CODE + 1):
        lengths = CALLING_CODES.get(digits[:length])
        if lengths is not None:
            rest = digits[length:]
            return len(rest) in lengths or (rest.startswith("0") and len(rest) - 1 in lengths)
    return False


def _is_national(digits: str, lengths: tuple[int, ...], plans: Sequence[NumberingPlan]) -> bool:
    if _is_date(digits, lengths):
        return False
    if lengths in _NORTH_AMERICAN_GROUPS and any(plan.north_american for plan in plans):
        area = digits[-10]
        return area not in "01" and (len(lengths) == 3 or digits[0] == "1")
    return any(
        _fits(digits, plan) and (not plan.north_american or lengths in _NORTH_AMERICAN_WRITTEN) for plan in plans
    )


def _is_date(digits: str, lengths: tuple[int, ...]) -> bool:
    """Whether it begins like 2026-01-31 or 31.1.2026: what follows is then a time of day."""
    if lengths[:3] == (4, 2, 2):
        return digits[:2] in ("19", "20")
    if len(lengths) < 3 or lengths[0] > 2 or lengths[1] > 2 or lengths[2] != 4:
        return False
    behind = lengths[0] + lengths[1]
    first, second = int(digits[: lengths[0]]), int(digits[lengths[0] : behind])
    return digits[behind : behind + 2] in ("19", "20") and 1 <= min(first, second) <= 12 and max(first, second) <= 31


def _fits(digits: str, plan: NumberingPlan) -> bool:
    prefix = plan.prefix
    if prefix and digits.startswith(prefix) and _is_number(digits[len(prefix) :], plan):
        return True
    return not plan.required and _is_number(digits, plan)


def _is_number(number: str, plan: NumberingPlan) -> bool:
    return len(number) in plan.lengths and all(_shape(shape).fullmatch(number) for shape in plan.shapes)


def _stands_alone(text: str, start: int, end: int, groups: int) -> bool:
    """Whether no letter touches the number, save for an extension, and no word or fraction if it is one group."""
    if start and _WORD.match(text, start - 1):
        return False
    if _WORD.match(text, end) and not _EXTENSION.match(text, end):
        return False
    tied = groups == 1 and (_TIED_BEFORE.search(text, max(0, start - 2), start) or _TIED_AFTER.match(text, end))
    return not tied


def _is_torn(text: str, groups: Groups, first: int, last: int) -> bool:
    """Whether the groups are part of something longer: tied to the ones beside them, or alike in a row of digits."""
    if _gap(text, groups, first) in ("-", ".", "/") or _gap(text, groups, last + 1) in ("-", "."):
        return True
    width = _width(groups, first)
    before = groups[max(0, first - 2) : first]
    if len(before) == 2 and all(_width(groups, index) == width for index in (first - 2, first - 1)):
        return _gap(text, groups, first) == _gap(text, groups, first - 1) == " "
    goes_on = last + 1 < len(groups) and _gap(text, groups, last + 1) == " "
    return goes_on and last - first >= 2 and all(_width(groups, at) == width for at in range(first, last + 2))


def _is_grouped_otherwise(text: str, groups: Groups, plans: Sequence[NumberingPlan]) -> bool:
    """Whether nobody groups a telephone number so: a digit that is no prefix, a year, a social security number."""
    widths = tuple(end - start for start, end in groups)
    after_first = _gap(text, groups, 1)
    if 1 in widths[1:] or (widths[0] == 1 and not _is_prefix(text[groups[0][0]], after_first, plans)):
        return True
    if widths[0] == 4 and text[groups[0][0] : groups[0][0] + 2] in ("19", "20") and after_first in ("-", "/"):
        return True
    return widths == _SOCIAL_SECURITY_GROUPS and after_first == "-"


def _is_prefix(digit: str, gap: str, plans: Sequence[NumberingPlan]) -> bool:
    return gap != "." and any(plan.prefix == digit for plan in plans)


def _gap(text: str, groups: Groups, index: int) -> str:
    """What stands before a group and behind the one before it; nothing at either end."""
    return text[groups[index - 1][1] : groups[index][0]] if 0 < index < len(groups) else ""


def _width(groups: Groups, index: int) -> int:
    return groups[index][1] - groups[index][0]


@cache
def _shape(shape: str) -> re.Pattern[str]:
    try:
        return re.compile(shape, re.ASCII)
    except re.error as error:
        raise ValueError(f"{shape}: {error}") from error
