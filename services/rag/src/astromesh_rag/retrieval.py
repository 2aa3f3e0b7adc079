"""From what a store found to the passages that are shown, as the pipeline's settings have it. Pure; asks no store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from astromesh_core.events.contents import plain
from astromesh_core.resources.rag_pipeline import Retrieval
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.ranking import diversify, fuse

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage

CANDIDATES = 50
"""Found by each way at least, where what is shown is chosen from more than is shown."""

FEWEST_JUDGED, MOST_JUDGED = 20, 100
"""Passages that a reranker reads for one question: a run of its model each."""


def depth(retrieval: Retrieval, wanted: int, *, reranked: bool = False) -> int:
    """How many passages each way of searching has to find."""
    if retrieval.mode == "hybrid" or retrieval.mmr is not None:
        return max(CANDIDATES, 4 * wanted)
    return judged(wanted) if reranked else wanted


def judged(wanted: int) -> int:
    """How many passages a reranker is given to choose from."""
    return min(max(FEWEST_JUDGED, 4 * wanted), MOST_JUDGED)


def ranked(matches: Matches, retrieval: Retrieval) -> list[Match]:
    """All that was found and is near enough, best first.

    The score of a passage is the cosine where vectors alone were asked, else the fused rank: 1 is first in all ways of
    searching.
    """
    threshold = -1.0 if retrieval.similarity_threshold is None else retrieval.similarity_threshold
    near = [match for match in matches.by_vector if match.passage.score >= threshold]
    return near if retrieval.mode == "vector" else _fused(near, matches.by_words, retrieval.mode == "hybrid")


def reranked(found: Sequence[Match], scores: Sequence[float]) -> list[Match]:
    """The matches by a reranker's scores, which become theirs; equal ones keep their order."""
    for match, score in zip(found, scores, strict=True):
        match.passage.score = score
    return sorted(found, key=lambda match: -match.passage.score)


def read_by_reranker(passage: Passage) -> str:
    """What a reranker reads of a passage: the titles above it say what it is about where it does not say so itself."""
    text = plain(passage.text)
    return " > ".join(passage.headings) + "\n" + text if passage.headings else text


def chosen(found: Sequence[Match], retrieval: Retrieval, wanted: int) -> list[Passage]:
    """At most `wanted` passages, best first, or, with MMR, in the order in which it chose them."""
    if retrieval.mmr is None or not found:
        return [match.passage for match in found[:wanted]]
    return [match.passage for match in _diverse(found, retrieval.mmr.lambda_mult, wanted)]


def _fused(near: list[Match], worded: list[Match], hybrid: bool) -> list[Match]:
    rankings = [near, worded] if hybrid else [worded]
    found = {match.passage.id: match for ranking in rankings for match in ranking}
    ranked: list[Match] = []
    for name, score in fuse([[match.passage.id for match in ranking] for ranking in rankings]).items():
        found[name].passage.score = score
        ranked.append(found[name])
    return ranked


def _diverse(found: Sequence[Match], lambda_mult: float, wanted: int) -> list[Match]:
    import numpy as np

    vectors = np.stack([match.vector for match in found])
    relevance = [match.passage.score for match in found]
    return [found[index] for index in diversify(relevance, vectors, lambda_mult, wanted)]
