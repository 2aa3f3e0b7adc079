"""What was embedded a moment ago is not embedded again, and comes out the same."""

from __future__ import annotations

import numpy as np

from astromesh_memory import latest_vectors
from astromesh_memory.latest_vectors import LatestVectors
from astromesh_testing.embedding import WordEmbedder


async def test_each_text_is_embedded_once_and_in_its_place() -> None:
    embedder = WordEmbedder(32)
    latest = LatestVectors(embedder)
    first = await latest.embed(["a cat", "a dog"])
    again = await latest.embed(["a dog", "a bird", "a dog", "a cat"])
    assert embedder.embedded == ["a cat", "a dog", "a bird"]
    assert np.array_equal(again, await WordEmbedder(32).embed(["a dog", "a bird", "a dog", "a cat"]))
    assert np.array_equal(first[1], again[0])
    assert (await latest.embed([])).shape == (0, 32)


async def test_it_forgets_the_oldest_and_all_when_it_is_closed() -> None:
    embedder = WordEmbedder(32)
    latest = LatestVectors(embedder)
    texts = [f"text {number}" for number in range(latest_vectors.KEPT + 1)]
    await latest.embed(texts)
    await latest.embed([texts[-1], texts[0]])
    assert embedder.embedded[len(texts) :] == [texts[0]]
    await latest.close()
    await latest.embed([texts[-1]])
    assert embedder.embedded[-1] == texts[-1]
