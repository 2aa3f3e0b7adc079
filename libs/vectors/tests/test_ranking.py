"""Fusion by rank and diversity by MMR: what holds for any rankings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_vectors.ranking import RRF_K, diversify, fuse

rankings = st.lists(st.lists(st.sampled_from("abcdefghij"), unique=True), min_size=1, max_size=4)


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[float], np.ndarray]:
    count = draw(st.integers(0, 12))
    seed = draw(st.integers(0, 2**32 - 1))
    rows = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    relevance = draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
    return relevance, rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(rankings)
def test_every_name_stands_once_by_falling_score(given_rankings: list[list[str]]) -> None:
    fused = fuse(given_rankings)
    assert set(fused) == {name for ranking in given_rankings for name in ranking}
    assert list(fused.values()) == sorted(fused.values(), reverse=True)
    assert all(0.0 < score <= 1.0 for score in fused.values())


@given(rankings)
def test_the_order_of_the_rankings_changes_no_score(given_rankings: list[list[str]]) -> None:
    assert fuse(given_rankings) == fuse(given_rankings[::-1])


@given(rankings)
def test_what_is_better_everywhere_is_better(given_rankings: list[list[str]]) -> None:
    fused = fuse(given_rankings)
    best = given_rankings[0][0] if given_rankings[0] else None
    if best is not None and all(ranking[:1] == [best] for ranking in given_rankings):
        assert fused[best] == 1.0
    for ranking in given_rankings:
        for name, other in pairwise(ranking):
            if all(name in one and (other not in one or one.index(name) < one.index(other)) for one in given_rankings):
                assert fused[name] > fused[other]


@given(st.lists(st.sampled_from("abcdefghij"), unique=True))
def test_one_ranking_stays_as_it_is(ranking: list[str]) -> None:
    assert list(fuse([ranking])) == ranking


def test_a_share_is_the_papers() -> None:
    fused = fuse([["a", "b"], ["b", "c"]])
    assert list(fused) == ["b", "a", "c"]
    assert fused["b"] / fused["a"] == pytest.approx((1 / (RRF_K + 2) + 1 / (RRF_K + 1)) / (1 / (RRF_K + 1)))


@given(candidates(), st.floats(0, 1), st.integers(0, 15))
def test_as_many_as_asked_for_are_chosen_once_each(
    found: tuple[list[float], np.ndarray], lambda_mult: float, limit: int
) -> None:
    relevance, vectors = found
    chosen = diversify(relevance, vectors, lambda_mult, limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(relevance))
    assert set(chosen) <= set(range(len(relevance)))
    assert chosen == diversify(relevance, vectors, lambda_mult, 99)[: len(chosen)]


@given(candidates())
def test_relevance_alone_sorts_by_relevance(found: tuple[list[float], np.ndarray]) -> None:
    relevance, vectors = found
    chosen = diversify(relevance, vectors, 1.0, 99)
    assert chosen == sorted(range(len(relevance)), key=lambda index: -relevance[index])


@given(candidates(), st.floats(0.01, 1))
def test_each_choice_is_the_best_by_the_formula(found: tuple[list[float], np.ndarray], lambda_mult: float) -> None:
    relevance, vectors = found
    chosen = diversify(relevance, vectors, lambda_mult, 99)
    cosines = vectors @ vectors.T

    def gain(index: int, before: list[int]) -> float:
        repeated = max((float(cosines[index, other]) for other in before), default=0.0)
        return lambda_mult * relevance[index] - (1 - lambda_mult) * repeated

    for place, index in enumerate(chosen):
        rest = max(gain(other, chosen[:place]) for other in range(len(relevance)) if other not in chosen[:place])
        assert gain(index, chosen[:place]) == pytest.approx(rest, abs=1e-5)


def test_a_repetition_makes_room_for_what_is_new() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    assert diversify([1.0, 0.99, 0.6], vectors, 0.5, 2) == [0, 2]
    assert diversify([1.0, 0.99, 0.6], vectors, 1.0, 2) == [0, 1]
