"""Opens vector stores as resources declare them: the one place that names the concrete ones. Drivers of extras are
imported by the first call of a store that needs them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.extras import STORE_EXTRAS
from astromesh_core.resources.secrets import SecretKeyRef, resolve
from astromesh_core.resources.stores import Connection, StorePlace
from astromesh_core.user_code.modules import Modules
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.own_classes import OwnClasses
from astromesh_vectors.own_store import Making, OwnStore
from astromesh_vectors.point_store.points import Points, Purpose
from astromesh_vectors.point_store.store import PointStore
from astromesh_vectors.ports import VectorStore

PORTS: Final = {"qdrant": 6333, "chroma": 8000}
"""Of servers whose address names none."""

_MESH_LETTERS: Final = 12

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
    `environ` holds what secrets refer to; all stay the caller's. `mesh` sets this mesh's collections apart from those
    of others on the same server."""

    def __init__(self, data: Path, modules: Modules, environ: Mapping[str, str], mesh: str = "") -> None:
        self._data = data
        self._mesh = mesh[:_MESH_LETTERS]
        self._environ = environ
        self._classes = OwnClasses(modules)

    def open(self, place: StorePlace, collection: Collection, confined: bool = False) -> VectorStore:
        """A store, not connected yet: its first call is. The caller closes it.

        `confined` allows no folder outside the mesh's data folder: whoever declared it may not write there. Raises
        NotSupported with the command that installs what is missing, and InvalidInput for a class or a variable that is
        not there.
        """
        folder = self._folder(place, collection, confined=confined)
        if place.backend == "faiss":
            return FaissStore(folder, model=collection.model, dimension=collection.dimension, index=place.index)
        if place.is_custom:
            return self._own(place, collection, folder)
        extra = STORE_EXTRAS[place.backend]
        if not extra.installed:
            raise NotSupported(f"the vector store {place.backend} needs an extra: {extra.missing}; {extra.advice}")
        if place.backend == "pgvector":
            return self._pgvector(place, collection)
        return self._points(place, collection, folder)

    def close(self) -> None:
        """Makes no more of users' classes. Stores stay open."""
        self._classes.close()

    def _points(self, place: StorePlace, collection: Collection, folder: Path) -> PointStore:
        url, key = self._server(place)
        named = collection if url is None else self._on_server(collection)
        name, metric, is_qdrant = named.server_name, place.metric, place.backend == "qdrant"

        def connect() -> Points:
            if is_qdrant:
                from astromesh_vectors.qdrant_store import opening as qdrant

                if url is None:
                    return qdrant.in_folder(folder, name, metric)
                return qdrant.on_server(url, key, name, metric, exact=place.index == "flat")
            from astromesh_vectors.chroma_store import opening as chroma

            if url is None:
                return chroma.in_folder(folder, name, metric)
            return chroma.on_server(url, key, name, metric)

        label = f"the {place.backend} collection {name}"
        purpose = Purpose(collection.model, collection.dimension)
        return PointStore(connect, purpose, folder, name=label, shared=url is not None)

    def _server(self, place: StorePlace) -> tuple[str | None, str]:
        """The address of a server, None for a folder, and the key for it. Raises InvalidInput, NotSupported."""
        url, host, port, key = place.url, place.host, place.port, place.api_key
        if place.connection is not None:
            declared = place.connection
            url, host, port, key = declared.url, declared.host, declared.port, declared.password
            if declared.secret_key_ref is not None:
                url = resolve(SecretKeyRef(secret_key_ref=declared.secret_key_ref), self._environ)
        if host is not None:
            url = f"http://{host}:{port or PORTS[place.backend]}"
        resolved = None if url is None else resolve(url, self._environ)
        return resolved, "" if key is None else resolve(key, self._environ)

    def _own(self, place: StorePlace, collection: Collection, folder: Path) -> VectorStore:
        making = Making(
            collection=collection.name,
            model=collection.model,
            dimension=collection.dimension,
            folder=folder,
            url=resolve(place.url or "", self._environ),
            api_key=resolve(place.api_key or "", self._environ),
            parameters=json.loads(place.parameters_json),
        )
        return OwnStore(place.backend, self._classes, making)

    def _on_server(self, collection: Collection) -> Collection:
        return replace(collection, name=f"{collection.name}@{self._mesh}") if self._mesh else collection

    def _pgvector(self, place: StorePlace, collection: Collection) -> VectorStore:
        from astromesh_vectors.pgvector_store.store import PgvectorStore

        connection = place.connection
        if place.url is not None:
            connection = Connection(url=place.url)
        elif place.host is not None:
            connection = Connection(host=place.host, port=place.port)
        return PgvectorStore(
            postgres_address(connection, self._environ),
            collection=self._on_server(collection).name,
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
