"""A user's own vector store: `backend: "my_package.my_module:MyStore"`.

The class is found in the config folder's `stores/`, then on the Python path. It is made by the first call, in a thread,
with the keyword arguments of `StoreClass`; what it offers is `astromesh_vectors.ports.VectorStore`. Its methods run on
the service's event loop, which they must not block. `astromesh_testing.contracts.vector_store` says whether it is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.filters import Filter, Metadata, MetadataValue
from astromesh_vectors.own_classes import Own, OwnClasses
from astromesh_vectors.passages import checked
from astromesh_vectors.ports import Match, Matches, VectorStore

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.ports import Vectors

METHODS: Final = ("put", "remove", "documents", "metadata", "text", "passages", "count", "search", "close")

T = TypeVar("T")


class StoreClass(Protocol):
    """How a store is made. `folder` is its own and may not be there yet; `url` and `api_key` are "" unless declared."""

    def __call__(
        self,
        *,
        collection: str,
        model: str,
        dimension: int,
        folder: Path,
        url: str,
        api_key: str,
        parameters: Mapping[str, JsonValue],
    ) -> VectorStore: ...


@dataclass(frozen=True, slots=True)
class Making:
    """What a store is made with."""

    collection: str
    model: str
    dimension: int
    folder: Path
    url: str
    api_key: str
    parameters: Mapping[str, JsonValue]


class OwnStore:
    """One store of a user's class. Whatever the class raises, an error that names it is raised here."""

    def __init__(self, path: str, classes: OwnClasses, making: Making) -> None:
        self.dimension = making.dimension
        self._path = path
        self._classes = classes
        self._making = making
        self._own: Own | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        kept = list(passages)
        content = checked(document, kept, vectors, metadata, self.dimension)
        common = content.metadata
        return await self._call(lambda store: store.put(document, sha256, kept, content.units, common, text), bool)

    async def remove(self, document: str) -> bool:
        return await self._call(lambda store: store.remove(document), bool)

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        return await self._call(lambda store: store.documents(where), dict[str, bytes])

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        return await self._call(lambda store: store.metadata(document), dict[str, MetadataValue])

    async def text(self, document: str) -> str:
        return await self._call(lambda store: store.text(document), str)

    async def passages(self, document: str) -> list[Match]:
        return await self._call(lambda store: store.passages(document), list[Match])

    async def count(self) -> int:
        return await self._call(lambda store: store.count(), int)

    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        from astromesh_vectors.unit import unit_rows

        query = None if vector is None else unit_rows([vector], self.dimension)[0]
        return await self._call(lambda store: store.search(query, words, limit, where, min_score), Matches)

    async def close(self) -> None:
        self._closed = True
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def _call(self, work: Callable[[VectorStore], Awaitable[T]], kind: type[T]) -> T:
        own = await self._made()
        answer = await own.call(lambda: work(cast("VectorStore", own.made)))
        plain: type = getattr(kind, "__origin__", kind)
        if not isinstance(answer, plain):
            raise InvalidInput(f"{self._path}: answered {type(answer).__name__} for {plain.__name__}")
        return answer

    async def _made(self) -> Own:
        if self._closed:
            raise Unavailable(f"{self._path} is closed")
        async with self._lock:
            if self._own is None:
                key = self._making.api_key
                self._own = await self._classes.make(self._path, self._make, METHODS, key)
            return self._own

    def _make(self, found: Callable[..., object]) -> object:
        making = self._making
        return cast("StoreClass", found)(
            collection=making.collection,
            model=making.model,
            dimension=making.dimension,
            folder=making.folder,
            url=making.url,
            api_key=making.api_key,
            parameters=dict(making.parameters),
        )
