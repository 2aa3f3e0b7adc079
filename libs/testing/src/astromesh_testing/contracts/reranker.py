"""The rules that every reranker keeps, a user's own included. Tests subclass `RerankerContract` and say how to make it.

class TestMine(RerankerContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Mine(model="m", endpoint="", api_key="")
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

import pytest

QUESTION = "who hunt mice at night ?"
TEXTS = ("storks build nests", "owls hunt mice at night", "the rhine is long", "an invoice is due in may")


class Reranker(Protocol):
    """`astromesh_vectors.rerankers.protocol.RerankerProtocol` as the suite sees it."""

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]: ...


async def scored(reranker: Reranker, query: str, texts: Sequence[str]) -> list[float]:
    """The scores, checked in number."""
    scores = list(await reranker.scores(query, texts))
    assert len(scores) == len(texts)
    assert all(math.isfinite(score) for score in scores)
    return scores


class RerankerContract:
    """`reranker` is a fixture to give."""

    tolerance = 1e-4

    @pytest.fixture
    def reranker(self) -> Reranker:
        """The reranker under test; whoever makes it closes it."""
        raise NotImplementedError

    async def test_scores_each_text_in_order(self, reranker: Reranker) -> None:
        together = await scored(reranker, QUESTION, TEXTS)
        alone = [(await scored(reranker, QUESTION, [text]))[0] for text in TEXTS]
        assert together == pytest.approx(alone, abs=self.tolerance)
        backwards = await scored(reranker, QUESTION, TEXTS[::-1])
        assert backwards[::-1] == pytest.approx(together, abs=self.tolerance)
        assert len({round(score, 3) for score in together}) > 1, "every text has the same score"

    async def test_no_texts_have_no_scores(self, reranker: Reranker) -> None:
        assert await scored(reranker, QUESTION, []) == []

    async def test_takes_what_is_odd_or_longer_than_any_model_reads(self, reranker: Reranker) -> None:
        await scored(reranker, QUESTION, ["", "naïve 東京 🚀", "a\x00b", "owls hunt mice " * 4_000])
        await scored(reranker, "owls hunt mice " * 4_000, ["storks build nests"])

    async def test_takes_a_hundred_texts(self, reranker: Reranker) -> None:
        scores = await scored(reranker, QUESTION, [TEXTS[number % 4] for number in range(100)])
        assert scores[4:] == pytest.approx(scores[:-4], abs=self.tolerance)

    async def test_serves_many_callers_at_once(self, reranker: Reranker) -> None:
        expected = await scored(reranker, QUESTION, TEXTS)
        for scores in await asyncio.gather(*(scored(reranker, QUESTION, TEXTS) for _ in range(6))):
            assert scores == pytest.approx(expected, abs=self.tolerance)

    async def test_serves_others_after_a_caller_left(self, reranker: Reranker) -> None:
        leaving = asyncio.ensure_future(reranker.scores(QUESTION, TEXTS))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        await scored(reranker, QUESTION, TEXTS)
