"""Documents for tests of vector stores: in four directions, written and found in few words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from astromesh.v1.values_pb2 import Content, Passage
from astromesh_core.filters import Filter, Metadata, MetadataValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

DIMENSION = 4


class Match(Protocol):
    """`astromesh_vectors.ports.Match` as the suite sees it; this package may not import that one."""

    @property
    def passage(self) -> Passage: ...
    @property
    def vector(self) -> Vectors: ...


class Matches(Protocol):
    """`astromesh_vectors.ports.Matches`."""

    @property
    def by_vector(self) -> Sequence[Match]: ...
    @property
    def by_words(self) -> Sequence[Match]: ...


class Store(Protocol):
    """`astromesh_vectors.ports.VectorStore`."""

    @property
    def dimension(self) -> int: ...
    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool: ...
    async def remove(self, document: str) -> bool: ...
    async def documents(self, where: Filter | None = None) -> dict[str, bytes]: ...
    async def metadata(self, document: str) -> dict[str, MetadataValue]: ...
    async def text(self, document: str) -> str: ...
    async def passages(self, document: str) -> Sequence[Match]: ...
    async def count(self) -> int: ...
    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches: ...
    async def close(self) -> None: ...


Opener: TypeAlias = Callable[..., Store]


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def rows(*vectors: Sequence[float]) -> Vectors:
    import numpy as np

    return np.array(vectors, dtype=np.float32).reshape(len(vectors), len(vectors[0]) if vectors else DIMENSION)


def passage(text: str, source: str = "guide.md", start: int = 0) -> Passage:
    return Passage(source=source, start=start, end=start + len(text), headings=["Guide"], text=Content(text=text))


EAST, NORTH, UP, LATE = ([1.0 if axis == place else 0.0 for axis in range(DIMENSION)] for place in range(DIMENSION))


def vector(direction: Sequence[float]) -> Vectors:
    return rows(direction)[0]


async def write(
    store: Store, document: str, *texts: str, direction: Sequence[float] = EAST, version: str = "1"
) -> bool:
    """Puts a document with these passages, all of one direction."""
    kept = [passage(text, source=f"{document}.md", start=100 * place) for place, text in enumerate(texts)]
    return await store.put(document, digest(version), kept, rows(*[direction] * len(texts)), {"version": version})


async def nearest(
    store: Store, direction: Sequence[float] = EAST, top_k: int = 10, where: Filter | None = None
) -> list[Passage]:
    """The passages nearest to a direction."""
    matches = await store.search(vector(direction), "", top_k, where)
    assert matches.by_words == []
    return [match.passage for match in matches.by_vector]


async def found(
    store: Store, direction: Sequence[float] = EAST, top_k: int = 10, where: Filter | None = None
) -> list[str]:
    """Their texts."""
    return [passage.text.text for passage in await nearest(store, direction, top_k, where)]
