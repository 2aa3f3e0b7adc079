"""Opens a collection of Qdrant, in a folder or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qdrant_client import QdrantClient

from astromesh_vectors.qdrant_store.points import QdrantPoints

if TYPE_CHECKING:
    from astromesh_core.resources.stores import Metric

TIMEOUT_SECONDS: Final = 10
"""Of one request."""

FOLDER: Final = "qdrant"


def in_folder(folder: Path, collection: str, metric: Metric) -> QdrantPoints:
    """A collection of Qdrant's local mode. It looks at every passage: up to some ten thousand of them."""

    def connect() -> QdrantClient:
        # Calls come from one thread after the other; SQLite would want them from the one that opened it.
        return QdrantClient(path=str(folder / FOLDER), force_disable_check_same_thread=True)

    return QdrantPoints(connect, collection, metric, shared=False, exact=True)


def on_server(url: str, api_key: str, collection: str, metric: Metric, *, exact: bool) -> QdrantPoints:
    """A collection on a server, at an address such as `http://localhost:6333`."""

    def connect() -> QdrantClient:
        # Named as a header: as `api_key` the client would warn of every server inside the network.
        headers = {"api-key": api_key} if api_key else {}
        return QdrantClient(url=url, headers=headers, timeout=TIMEOUT_SECONDS, check_compatibility=False)

    return QdrantPoints(connect, collection, metric, shared=True, exact=exact)
