"""Which sentences answer a question best, by vectors or, where there are none, by shared words. Pure; no model here."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

_WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been but by can could did do does for from had has have how i if in into is it its me "
        "my of on or our shall should so such than that the their them then there these they this to was we were what "
        "when where which who whom whose why will with would you your"
    )
)
"""English words without a meaning of their own, in lower case."""

SHORTEST_STEM = 3
"""Letters. Below it an ending is part of the word: `bed`, `gas`."""


def vector_scores(question: Vectors, sentences: Vectors) -> list[float]:
    """The cosine of each sentence with the question, given unit vectors: `(d,)` or `(1, d)`, and `(n, d)`."""
    return (sentences @ question.reshape(-1)).tolist()


def word_scores(question: str, sentences: Sequence[str]) -> list[float]:
    """How much of what the question asks each sentence speaks of, from 0 to 1.

    Shared words weigh by their rarity among the sentences (inverse document frequency); words without meaning of
    their own count nothing, and an ending of a plural or a tense makes no difference.
    """
    asked = _stems(question)
    spoken = [_stems(sentence) for sentence in sentences]
    frequency = Counter(stem for stems in spoken for stem in stems)
    weight = {stem: math.log(1 + (len(sentences) + 1) / (frequency[stem] + 0.5)) for stem in sorted(asked)}
    total = math.fsum(weight.values())
    if total == 0:
        return [0.0] * len(sentences)
    return [math.fsum(weight[stem] for stem in sorted(asked & stems)) / total for stems in spoken]


def best(texts: Sequence[str], scores: Sequence[float], limit: int, min_score: float) -> list[int]:
    """The indices of the `limit` best texts at or above `min_score`, best first; equal ones in order, no text twice."""
    chosen: list[int] = []
    seen: set[str] = set()
    for index in sorted(range(len(texts)), key=lambda index: (-scores[index], index)):
        if scores[index] < min_score or len(chosen) == limit:
            break
        key = " ".join(_WORD.findall(texts[index].casefold()))
        if key not in seen:
            seen.add(key)
            chosen.append(index)
    return chosen


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORD.findall(text.casefold()) if word not in STOP_WORDS)


def _stem(word: str) -> str:
    """English endings cut off words that stay recognisable: `appends`, `appended` and `appending` are `append`."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)].removesuffix("e")
    return word.removesuffix("e") if len(word) > SHORTEST_STEM else word
