"""Opens a collection of Chroma, in a folder or on a server. Nothing is told to Chroma's makers."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import chromadb
import httpx
from chromadb.config import Settings

from astromesh_vectors.chroma_store.points import ChromaPoints

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client

    from astromesh_core.resources.stores import Metric

FOLDER: Final = "chroma"
PORT: Final = 8000
TIMEOUT_SECONDS: Final = 10.0
"""Of one request."""
HEARTBEAT: Final = "/api/v2/heartbeat"
_SESSIONS: Final = (attrgetter("_server._session"), attrgetter("_admin_client._server._session"))
"""Chroma offers no other way to them."""

KEY_HEADER: Final = "X-Chroma-Token"


def in_folder(folder: Path, collection: str, metric: Metric) -> ChromaPoints:
    """A collection in a folder, for this process alone."""

    def connect() -> ClientAPI:
        return chromadb.PersistentClient(folder / FOLDER, Settings(anonymized_telemetry=False))

    return ChromaPoints(connect, collection, metric, _close)


def on_server(url: str, api_key: str, collection: str, metric: Metric) -> ChromaPoints:
    """A collection on a server, at an address such as `http://localhost:8000`."""
    parts = urlsplit(url)
    host, port, headers = parts.hostname or "", parts.port or PORT, {KEY_HEADER: api_key} if api_key else {}

    def connect() -> ClientAPI:
        # Chroma's client waits for ever, from its making on: so it is asked first whether anybody is there.
        httpx.get(f"{parts.scheme}://{host}:{port}{HEARTBEAT}", headers=headers, timeout=TIMEOUT_SECONDS)
        settings = Settings(anonymized_telemetry=False)
        client = chromadb.HttpClient(host, port, ssl=parts.scheme == "https", headers=headers, settings=settings)
        for session in _sessions_of(client):
            session.timeout = httpx.Timeout(TIMEOUT_SECONDS)
        return client

    return ChromaPoints(connect, collection, metric, _release)


def _release(client: ClientAPI) -> None:
    for session in _sessions_of(client):
        session.close()
    _close(client)


def _close(client: ClientAPI) -> None:
    cast("Client", client).close()


def _sessions_of(client: ClientAPI) -> list[httpx.Client]:
    """The connections of a client, which has them for itself, and neither bounds nor closes them."""
    return [cast("httpx.Client", session(client)) for session in _SESSIONS]
