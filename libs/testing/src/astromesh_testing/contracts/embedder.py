"""The rules that every embedder keeps, a user's own included. Tests subclass `EmbedderContract` and say how to make it.

class TestMine(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return Mine(model="m", endpoint="", api_key="", dimension=None)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pytest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

ODD = ("naïve 東京 🚀", "שלום", "e\u0301", "a\x00b", "line\r\nline", "\t")


class Embedder(Protocol):
    """`astromesh_vectors.embedders.protocol.EmbedderProtocol` as the suite sees it."""

    @property
    def dimension(self) -> int: ...
    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | Vectors: ...


async def directions(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """The vectors of texts at length one, checked in number and dimension."""
    import numpy as np

    rows = np.asarray(await embedder.embed(texts), dtype=np.float32)
    assert rows.shape == (len(texts), embedder.dimension)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.all(np.isfinite(lengths))
    assert np.all(lengths > 0), "a vector without a direction"
    return rows / lengths


class EmbedderContract:
    """`embedder` is a fixture to give."""

    tolerance = 1e-3
    """How far the cosine of a text with itself, embedded among others, may be from 1."""

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder under test; whoever makes it closes it."""
        raise NotImplementedError

    async def test_gives_one_vector_a_text_in_order(self, embedder: Embedder) -> None:
        texts = ["Owls hunt at night.", "The Rhine is long.", "Storks build nests."]
        together = await directions(embedder, texts)
        for row, text in zip(together, texts, strict=True):
            alone = (await directions(embedder, [text]))[0]
            assert float(row @ alone) == pytest.approx(1.0, abs=self.tolerance)
        backwards = await directions(embedder, texts[::-1])
        assert float((backwards[::-1] * together).sum(axis=1).min()) == pytest.approx(1.0, abs=self.tolerance)

    async def test_tells_texts_apart(self, embedder: Embedder) -> None:
        one, other = await directions(embedder, ["Owls hunt at night.", "An invoice is due in May."])
        assert float(one @ other) < 1 - self.tolerance

    async def test_gives_an_empty_text_and_an_odd_one_a_vector_too(self, embedder: Embedder) -> None:
        assert len(await directions(embedder, ["", *ODD])) == 1 + len(ODD)

    async def test_takes_a_text_that_is_longer_than_any_model_reads(self, embedder: Embedder) -> None:
        assert len(await directions(embedder, ["owls hunt mice " * 4_000])) == 1

    async def test_serves_many_callers_at_once(self, embedder: Embedder) -> None:
        texts = [f"Text number {number} says {number * 7}." for number in range(12)]
        alone = await directions(embedder, texts)
        parts = await asyncio.gather(*(directions(embedder, [text]) for text in texts))
        for row, (part,) in zip(alone, parts, strict=True):
            assert float(row @ part) == pytest.approx(1.0, abs=self.tolerance)

    async def test_serves_others_after_a_caller_left(self, embedder: Embedder) -> None:
        leaving = asyncio.ensure_future(embedder.embed([f"Text {number}." for number in range(32)]))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert len(await directions(embedder, ["Owls hunt at night."])) == 1
