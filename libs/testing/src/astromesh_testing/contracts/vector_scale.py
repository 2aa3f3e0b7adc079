"""What a vector store does with many passages: finds those that are nearest, filtered or not, and forgets what is gone.

Part of the stores' suite. Here a sample; `make soak` writes `SOAK_VECTORS` passages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from astromesh_core.filters import Equals, Filter, Not
from astromesh_testing.contracts.stored_vectors import Opener, Store, digest, passage

PASSAGES = int(os.environ.get("SOAK_VECTORS", "0"))
SAMPLE = 400
A_DOCUMENT = 50
DIMENSION = 64
QUESTIONS = 30
TOP = 10
LEAST_RECALL = 0.95
RARE = 25
"""One in so many documents is rare; in the soak, one in a hundred."""

Vectors: TypeAlias = NDArray[np.float32]


def drawn(count: int, seed: int) -> Vectors:
    """Unit vectors near a space of fewer dimensions, as those of texts are; the same each time."""
    random, space = np.random.default_rng(seed), np.random.default_rng(0).standard_normal((16, DIMENSION))
    rows = random.standard_normal((count, 16)) @ space + 0.3 * random.standard_normal((count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


async def recall(store: Store, rows: Vectors, places: Collection[int], where: Filter | None = None) -> float:
    """Which share of the true nearest among these places is found. Each question is answered in full."""
    among = np.array(sorted(places))
    hits = 0
    for question in drawn(QUESTIONS, 2):
        found = await store.search(question, "", TOP, where)
        assert len(found.by_vector) == TOP
        true = among[np.argsort(-(rows[among] @ question))[:TOP]]
        hits += len(set(true.tolist()) & {match.passage.start for match in found.by_vector})
    return hits / (QUESTIONS * TOP)


class ScaleContract:
    """Needs the fixtures `opener` and `closing`."""

    most_passages = 100_000
    """Beyond these, the store is not made for it."""

    @pytest.mark.timeout(0 if PASSAGES else 120)
    async def test_many_passages_are_found_by_nearness_filtered_or_not(
        self, opener: Opener, closing: Callable[[Store], None]
    ) -> None:
        count = min(PASSAGES or SAMPLE, self.most_passages)
        rare = 100 if PASSAGES else RARE
        rows, documents = drawn(count, 1), range(count // A_DOCUMENT)
        store = opener(model="drawn", dimension=DIMENSION)
        closing(store)
        for document in documents:
            places = range(document * A_DOCUMENT, (document + 1) * A_DOCUMENT)
            passages = [passage(f"passage {place}", start=place) for place in places]
            metadata = {"rare": document % rare == 1}
            await store.put(str(document), digest("1"), passages, rows[places.start : places.stop], metadata)
        assert await store.count() == count
        await _settled(store)
        is_rare = {place for place in range(count) if place // A_DOCUMENT % rare == 1}
        assert await recall(store, rows, range(count)) >= LEAST_RECALL
        assert await recall(store, rows, is_rare, Equals("rare", True)) >= LEAST_RECALL
        assert await recall(store, rows, set(range(count)) - is_rare, Not(Equals("rare", True))) >= LEAST_RECALL

        for document in documents[::3]:
            await store.remove(str(document))
        await _settled(store)
        left = {place for place in range(count) if place // A_DOCUMENT % 3}
        assert await store.count() == len(left)
        assert await recall(store, rows, left) >= LEAST_RECALL
        await store.close()
        again = opener(model="drawn", dimension=DIMENSION)
        closing(again)
        assert await recall(again, rows, left) >= LEAST_RECALL


async def _settled(store: Store) -> None:
    """A store may build its index behind its answers, and say when it is built."""
    settle = getattr(store, "settle", None)
    if settle is not None:
        await settle()
