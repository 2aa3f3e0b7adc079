"""Which episodes bear on a question: near in meaning, and not long ago. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

HALF_LIFE_SECONDS: Final = 30 * 24 * 3600.0
"""An episode of this age counts half as much as a new one that is as near."""


def ranked(
    vector: Vectors, vectors: Vectors, ages_seconds: Sequence[float], threshold: float, limit: int
) -> list[tuple[int, float]]:
    """The best `limit` with their scores, best first: cosine × ½^(age / half-life), of those whose cosine reaches the
    threshold. Equal ones stand in the given order. Vectors are of unit length."""
    cosines = [float(cosine) for cosine in vectors @ vector]
    scored = [
        (index, cosine * 0.5 ** (max(0.0, age) / HALF_LIFE_SECONDS))
        for index, (cosine, age) in enumerate(zip(cosines, ages_seconds, strict=True))
        if cosine >= threshold
    ]
    return sorted(scored, key=lambda one: -one[1])[:limit]
