"""The words of texts, as PostgreSQL is to count them, and passages ranked by BM25. Pure; asks no database.

A word is a run of letters and digits, without case and accents, as SQLite's `unicode61` has it; PostgreSQL's parser
finds nothing else in such a text. English endings are its dictionary's.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

K1 = 1.2
B = 0.75
"""As SQLite's `bm25` has them (https://www.sqlite.org/fts5.html#the_bm25_function)."""

_LEAST_WEIGHT = 1e-6
_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"[\u0300-\u036f]")


def plain_words(text: str) -> list[str]:
    """The words of a text in order."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return _WORD.findall(unicodedata.normalize("NFC", _MARKS.sub("", decomposed)))


@dataclass(frozen=True, slots=True)
class Asked:
    """Something that a question asks for: a word, or several that stand side by side."""

    query: str
    """As a `tsquery`."""
    lexemes: Sequence[str]
    """In the order in which they stand in a text."""
    passages: int
    """How many have it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that has something of what was asked."""

    number: int
    length: int
    """In words."""
    has: Sequence[bool]
    """For each thing asked whether it is there."""
    places: Mapping[str, frozenset[int]]
    """Of each lexeme, counted in words."""


def weight(asked: Asked, passages: int) -> float:
    """How much it tells that a passage has it: the rarer, the more."""
    return max(_LEAST_WEIGHT, math.log((passages - asked.passages + 0.5) / (asked.passages + 0.5)))


def occurrences(asked: Asked, candidate: Candidate) -> int:
    """How often it stands in the passage: at least once, for PostgreSQL found it there."""
    first, *others = [candidate.places.get(lexeme, frozenset[int]()) for lexeme in asked.lexemes]
    return max(1, sum(all(place + step in each for step, each in enumerate(others, 1)) for place in first))


def ranked(candidates: Iterable[Candidate], asked: Sequence[Asked], passages: int, words: int) -> list[int]:
    """The candidates' numbers, best first by BM25, equal ones by number.

    `passages` and `words` are those of the whole collection.
    """
    average = max(words / max(passages, 1), 1.0)
    weights = [weight(each, passages) for each in asked]

    def score(candidate: Candidate) -> float:
        scale = K1 * (1 - B + B * candidate.length / average)
        times = [occurrences(each, candidate) if there else 0 for each, there in zip(asked, candidate.has, strict=True)]
        return math.fsum(
            own * count * (K1 + 1) / (count + scale) for own, count in zip(weights, times, strict=True) if count
        )

    return [candidate.number for candidate in sorted(candidates, key=lambda each: (-score(each), each.number))]
