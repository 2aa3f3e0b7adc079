"""From what a store found to the passages that are shown, as the pipeline's settings have it. Pure; asks no store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astromesh_core.resources.rag_pipeline import Retrieval
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.ranking import diversify, fuse

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage

CANDIDATES = 50
"""Found by each way at least, where what is shown is chosen from more than is shown."""


def depth(retrieval: Retrieval, wanted: int) -> int:
    """How many passages each way of searching has to find."""
    if retrieval.mode != "hybrid" and retrieval.mmr is None:
        return wanted
    return max(CANDIDATES, 4 * wanted)


def chosen(matches: Matches, retrieval: Retrieval, wanted: int) -> list[Passage]:
    """At most `wanted` passages, best first, or, with MMR, in the order in which it chose them.

    Their score is the cosine where vectors alone were asked, else the fused rank: 1 is first in all ways of searching.
    """
    threshold = -1.0 if retrieval.similarity_threshold is None else retrieval.similarity_threshold
    near = [match for match in matches.by_vector if match.passage.score >= threshold]
    ranked = near if retrieval.mode == "vector" else _fused(near, matches.by_words, retrieval.mode == "hybrid")
    if retrieval.mmr is None or not ranked:
        return [match.passage for match in ranked[:wanted]]
    return [match.passage for match in _diverse(ranked, retrieval.mmr.lambda_mult, wanted)]


def _fused(near: list[Match], worded: list[Match], hybrid: bool) -> list[Match]:
    rankings = [near, worded] if hybrid else [worded]
    found = {match.passage.id: match for ranking in rankings for match in ranking}
    ranked: list[Match] = []
    for name, score in fuse([[match.passage.id for match in ranking] for ranking in rankings]).items():
        found[name].passage.score = score
        ranked.append(found[name])
    return ranked


def _diverse(ranked: list[Match], lambda_mult: float, wanted: int) -> list[Match]:
    import numpy as np

    vectors = np.stack([match.vector for match in ranked])
    relevance = [match.passage.score for match in ranked]
    return [ranked[index] for index in diversify(relevance, vectors, lambda_mult, wanted)]
