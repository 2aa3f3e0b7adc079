"""Which passages are shown and in what order: one ranking of several, and one that repeats itself less. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

RRF_K = 60
"""How slowly a place in a ranking loses its weight; 60 is the paper's."""


def fuse(rankings: Sequence[Sequence[str]], k: int = RRF_K) -> dict[str, float]:
    """Reciprocal rank fusion: each name's score, best first, equal ones in the order in which they first stand.

    The score is the sum of 1 / (k + place) over the rankings that have the name, scaled so that what stands first in
    all of them has 1. A ranking has no name twice. Cormack, Clarke and Buettcher, SIGIR 2009.
    """
    shares: dict[str, list[float]] = {}
    for ranking in rankings:
        for place, name in enumerate(ranking, start=1):
            shares.setdefault(name, []).append((k + 1) / (k + place))
    scores = {name: math.fsum(parts) / len(rankings) for name, parts in shares.items()}
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))


def diversify(relevance: Sequence[float], vectors: Vectors, lambda_mult: float, limit: int) -> list[int]:
    """Maximal marginal relevance: the indices of `limit` at most, in the order in which they are chosen.

    Next comes the one with the most of `lambda_mult` × relevance − (1 − `lambda_mult`) × its greatest cosine with those
    chosen, the first of equal ones; `vectors` are of unit length, `(n, d)`. Carbonell and Goldstein, SIGIR 1998.
    """
    import numpy as np

    worth = lambda_mult * np.asarray(relevance, dtype=np.float64)
    nearest = np.zeros(len(worth))
    chosen: list[int] = []
    while len(chosen) < min(limit, len(worth)):
        gain = worth - (1.0 - lambda_mult) * nearest
        gain[chosen] = -np.inf
        index = int(gain.argmax())
        cosines = (vectors @ vectors[index]).astype(np.float64)
        nearest = np.maximum(nearest, cosines) if chosen else cosines
        chosen.append(index)
    return chosen
