"""Opens vector stores as resources declare them: the one place that names the concrete ones. Drivers of extras are
imported by the first call of a store that needs them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.extras import POSTGRES
from astromesh_core.resources.stores import Connection, StorePlace
from astromesh_core.user_code.modules import Modules
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.ports import VectorStore

LONGEST_NAME: Final = 48
"""Of a collection on a server; PostgreSQL's tables have 63 bytes, with room for what belongs to one."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Vectors of one model, under a name of their own.

    `name` is a relative path such as `rag/default/docs`: the same on every replica, and no two collections' at once.
    """

    name: str
    model: str
    dimension: int

    @property
    def server_name(self) -> str:
        """The name on a server: letters, digits and hyphens, told from all others by a hash."""
        legible = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return f"{legible[: LONGEST_NAME - 9].strip('-')}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


class Stores:
    """Opens the vector stores of one service. `data` is the mesh's data folder, `modules` finds users' own classes,
    `environ` holds what secrets refer to; all stay the caller's."""

    def __init__(self, data: Path, modules: Modules, environ: Mapping[str, str]) -> None:
        self._data = data
        self._modules = modules
        self._environ = environ

    def open(self, place: StorePlace, collection: Collection, confined: bool = False) -> VectorStore:
        """A store, not connected yet: its first call is. The caller closes it.

        `confined` allows no folder outside the mesh's data folder: whoever declared it may not write there. Raises
        NotSupported with the command that installs what is missing, and InvalidInput for a class or a variable that is
        not there.
        """
        folder = self._folder(place, collection, confined=confined)
        if place.backend == "faiss":
            return FaissStore(folder, model=collection.model, dimension=collection.dimension, index=place.index)
        if place.backend == "pgvector":
            return self._pgvector(place, collection)
        raise NotSupported(f"the vector store {place.backend} is not built yet")

    def _pgvector(self, place: StorePlace, collection: Collection) -> VectorStore:
        if not POSTGRES.installed:
            raise NotSupported(f"the vector store pgvector needs an extra: {POSTGRES.missing}; {POSTGRES.advice}")
        from astromesh_vectors.pgvector_store.store import PgvectorStore

        connection = place.connection
        if place.url is not None:
            connection = Connection(url=place.url)
        elif place.host is not None:
            connection = Connection(host=place.host, port=place.port)
        return PgvectorStore(
            postgres_address(connection, self._environ),
            collection=collection.name,
            model=collection.model,
            dimension=collection.dimension,
            metric=place.metric,
        )

    def _folder(self, place: StorePlace, collection: Collection, *, confined: bool) -> Path:
        if place.path is None:
            return self._data / PurePosixPath(collection.name)
        root = self._data / place.path
        if confined and not root.resolve().is_relative_to(self._data.resolve()):
            raise InvalidInput(
                f"{place.path} lies outside the mesh's data folder; only a resource in a file may name it"
            )
        return root / PurePosixPath(collection.name)
