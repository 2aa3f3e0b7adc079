"""Opens the stores of semantic and episodic memory as agents declare them: the one place that names concrete ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from astromesh_core.errors import NotSupported
from astromesh_core.resources import agent_memory
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.extras import POSTGRES
from astromesh_memory.declared import Declared, collection_of, embeddings_of, in_sqlite
from astromesh_memory.episodes.memory import EpisodicMemory
from astromesh_memory.episodes.sqlite import SqliteEpisodes
from astromesh_memory.latest_vectors import LatestVectors
from astromesh_memory.runs.keeping import AgentKey, Sink
from astromesh_memory.semantic.memory import Embedders as SemanticEmbedders
from astromesh_memory.semantic.memory import SemanticMemory
from astromesh_vectors.embedders.prefixed import for_passages, for_queries

if TYPE_CHECKING:
    from astromesh_core.resources.embeddings import EmbeddingsSpec
    from astromesh_core.resources.stores import StorePlace
    from astromesh_memory.episodes.ports import EpisodeStore
    from astromesh_vectors.opening import Collection, Stores
    from astromesh_vectors.ports import Embedder, VectorStore


class Embedders(Protocol):
    """Where embedders are opened."""

    async def of(self, spec: EmbeddingsSpec) -> Embedder:
        """The one that a resource declares; it stays theirs."""
        ...


@dataclass(slots=True, eq=False)
class _SharedStore:
    """A store, closed when the last of its users has left."""

    store: VectorStore
    forget: Callable[[], object]
    users: int = 0

    async def leave(self) -> None:
        """One user less."""
        self.users -= 1
        if self.users == 0:
            self.forget()
            await self.store.close()


class Sinks:
    """The stores of one service. Episodes of one database share its connections."""

    def __init__(self, data: Path, embedders: Embedders, stores: Stores, mesh: str, environ: Mapping[str, str]) -> None:
        """`data` is this service's own folder; `embedders`, `stores` and `environ` stay the caller's."""
        self._data = data
        self._embedders = embedders
        self._stores = stores
        self._mesh = mesh
        self._environ = environ
        self._episodes: dict[str, EpisodeStore] = {}
        self._latest: dict[EmbeddingsSpec, LatestVectors] = {}
        self._vectors: dict[tuple[StorePlace, Collection, bool], _SharedStore] = {}

    async def open(self, key: AgentKey, declared: Declared, *, confined: bool) -> Sink:
        """The store that an agent declares; `confined` to the mesh's data folder.

        Raises NotSupported, InvalidInput, or a TemporaryError.
        """
        embeddings = embeddings_of(declared)
        embedder = await self._embedder(embeddings)
        if isinstance(declared, agent_memory.EpisodicMemory):
            # Questions are compared with questions: neither is the passage that the other looks for.
            return EpisodicMemory(key.namespace, key.agent, self._episodes_of(declared), embedder)
        shared = declared.collection or key.agent
        passages = for_passages(embedder, embeddings.prefixes)
        embedders = SemanticEmbedders(for_queries(embedder, embeddings.prefixes), passages)
        collection = collection_of(self._mesh, key.namespace, shared, passages.name, passages.dimension)
        store = self._shared(declared, collection, confined=confined)
        return SemanticMemory(f"{self._mesh}/{key.namespace}/{key.agent}", store.store, embedders, store.leave)

    async def _embedder(self, embeddings: EmbeddingsSpec) -> LatestVectors:
        opened = await self._embedders.of(embeddings)
        return self._latest.setdefault(embeddings, LatestVectors(opened))

    async def close(self) -> None:
        """Closes what sinks share; the sinks themselves are closed before."""
        for store in self._episodes.values():
            await store.close()

    def _episodes_of(self, declared: agent_memory.EpisodicMemory) -> EpisodeStore:
        if in_sqlite(declared):
            return self._kept("", lambda: SqliteEpisodes(self._data / "episodes.sqlite"))
        if not POSTGRES.installed:
            raise NotSupported(f"{POSTGRES.missing}; {POSTGRES.advice}")
        from astromesh_memory.episodes.postgres import PostgresEpisodes

        address = postgres_address(declared.connection, self._environ)
        return self._kept(address.text, lambda: PostgresEpisodes(address, self._mesh))

    def _shared(self, declared: agent_memory.SemanticMemory, collection: Collection, *, confined: bool) -> _SharedStore:
        """The store of a collection, which agents may share: some stores take one client alone."""
        name = (declared.place, collection, confined)
        shared = self._vectors.get(name)
        if shared is None:
            store = self._stores.open(declared.place, collection, confined)
            shared = self._vectors[name] = _SharedStore(store, lambda: self._vectors.pop(name, None))
        shared.users += 1
        return shared

    def _kept(self, name: str, make: Callable[[], EpisodeStore]) -> EpisodeStore:
        store = self._episodes.get(name)
        if store is None:
            store = self._episodes[name] = make()
        return store
