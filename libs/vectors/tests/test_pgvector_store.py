"""The pgvector store under the contract. What is its own stands in `test_pgvector_database` and `_words`."""

from __future__ import annotations

import pytest

from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.contracts.vector_store import Opener, VectorStoreContract
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.ports import VectorStore


class TestPgvectorStore(VectorStoreContract):
    @pytest.fixture
    def opener(self, postgres: str) -> Opener:
        address = postgres_address(Connection(url=postgres), {})

        def open_store(*, model: str, dimension: int) -> VectorStore:
            return PgvectorStore(address, collection="c", model=model, dimension=dimension)

        return open_store
