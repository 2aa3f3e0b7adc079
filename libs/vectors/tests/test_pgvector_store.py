"""The pgvector store under the contract, and what is its own: a database that others share, lack or take away."""

from __future__ import annotations

import pytest

from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.contracts.vector_store import Opener, VectorStoreContract
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.pgvector_store.tables import Metric
from astromesh_vectors.ports import VectorStore


class TestPgvectorStore(VectorStoreContract):
    @pytest.fixture(params=["cosine", "ip", "l2"])
    def metric(self, request: pytest.FixtureRequest) -> Metric:
        return request.param

    @pytest.fixture
    def opener(self, postgres: str, metric: Metric) -> Opener:
        address = postgres_address(Connection(url=postgres), {})

        def open_store(*, model: str, dimension: int) -> VectorStore:
            return PgvectorStore(address, collection="c", model=model, dimension=dimension, metric=metric)

        return open_store
