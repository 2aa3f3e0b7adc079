"""Qdrant and Chroma under the contract, in a folder and on a server, and what is their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from astromesh_testing.chroma import ChromaServer, chroma_server
from astromesh_testing.contracts.vector_store import Opener, VectorStoreContract
from astromesh_vectors.chroma_store import opening as chroma
from astromesh_vectors.point_store.points import Points, Purpose
from astromesh_vectors.point_store.store import PointStore
from astromesh_vectors.ports import VectorStore
from astromesh_vectors.qdrant_store import opening as qdrant


def opener_of(connect: Callable[[], Points], folder: Path, *, shared: bool = False) -> Opener:
    def open_store(*, model: str, dimension: int) -> VectorStore:
        return PointStore(connect, Purpose(model, dimension), folder / "words", name="compass", shared=shared)

    return open_store


class TestQdrantInAFolder(VectorStoreContract):
    shared = False

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda: qdrant.in_folder(tmp_path, "compass", "cosine"), tmp_path)


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")
class TestQdrantOnAServer(VectorStoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        name = f"compass-{uuid.uuid4().hex[:8]}"
        url = os.environ["QDRANT_URL"]
        return opener_of(lambda: qdrant.on_server(url, "", name, "cosine", exact=False), tmp_path, shared=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaServer]:
    with chroma_server() as running:
        yield running


class TestChromaOnAServer(VectorStoreContract):
    @pytest.fixture
    def opener(self, server: ChromaServer, tmp_path: Path) -> Opener:
        name = f"compass-{uuid.uuid4().hex[:8]}"
        return opener_of(lambda: chroma.on_server(server.url, "", name, "cosine"), tmp_path, shared=True)


class TestChromaInAFolder(VectorStoreContract):
    shared = False

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda: chroma.in_folder(tmp_path, "compass", "cosine"), tmp_path)
