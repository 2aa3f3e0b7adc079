"""What a country's telephone numbers look like. Whoever reads a numbering plan fills this in; no plan stands here."""

from __future__ import annotations

from typing import NamedTuple


class NumberingPlan(NamedTuple):
    """A country's national numbers.

    `prefix` is what is dialled before one ("" where nothing is); where it is `required`, nobody writes a number without
    it. `lengths` and `shapes` are those of the number behind the prefix: it has one of the lengths and matches every
    shape whole, each a regular expression of digits, classes, groups, counts and alternatives, nothing else.
    `north_american`: what is grouped 3-3-4 counts as a number, whether its area code is given out or not (555 is not).
    """

    prefix: str
    required: bool
    lengths: frozenset[int]
    shapes: tuple[str, ...]
    north_american: bool
