"""The scan for personal data and secrets: Rust where it is built, else the twin.

What is done about a finding, and which countries' numbering plans there are, is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from astromesh_native.choice import RUST
from astromesh_native.numbering import NumberingPlan
from astromesh_native.scan_tables import Tables
from astromesh_native.spans import Entity, Span
from astromesh_native.twins.personal_data.scan import PersonalDataScanner as Twin

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Scanner(Protocol):
    """Finds the entities that it was made for. Holds no state between two texts; any thread may call it."""

    def scan(self, text: str) -> Sequence[Span]:
        """What was found, disjoint and in order of place, in time linear in the text. Offsets are in characters."""
        ...


def scanner(entities: Collection[Entity], plans: Sequence[NumberingPlan], *, rust: bool = RUST) -> Scanner:
    """A scanner for these entities; `plans` are those of the countries whose national telephone numbers count.

    Takes some milliseconds: callers keep it. Raises ValueError for a plan whose shapes are no regular expressions.
    """
    return _Rust(entities, plans) if rust else Twin(entities, plans)


class _Rust:
    def __init__(self, entities: Collection[Entity], plans: Sequence[NumberingPlan]) -> None:
        from astromesh_native_rust import PersonalDataScanner

        self._scanner = PersonalDataScanner(set(entities), plans, Tables())

    def scan(self, text: str) -> list[Span]:
        try:
            found = self._scanner.scan(text)
        except UnicodeEncodeError:
            # Half a pair of surrogates is no character: it separates, as U+FFFD does.
            found = self._scanner.scan(_SURROGATES.sub("\ufffd", text))
        return list(map(Span._make, found))
