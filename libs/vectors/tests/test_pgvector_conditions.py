"""A filter means in SQL what it means everywhere: `filters.is_met` is asked beside it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from astromesh_core.filters import Equals, Every, Exists, Filter, MetadataValue, Not, OneOf, Some, Within, is_met
from astromesh_testing.postgres import PostgresServer
from astromesh_vectors.pgvector_store.conditions import condition
from astromesh_vectors.pgvector_store.rows import metadata_of

KEYS = st.sampled_from(["a", "b", "it's", '"', "%s", "a.b", "é", "$.a"])
NUMBERS = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, 0.1, 1e300, 5e-324, 2**53, -1]),
)
VALUES: st.SearchStrategy[MetadataValue] = st.one_of(
    NUMBERS, st.booleans(), st.sampled_from(["", "1", "true", "x", "%s", "'", "\x1a", "東"])
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Equals, KEYS, VALUES),
    st.builds(OneOf, KEYS, st.lists(VALUES, max_size=3).map(tuple)),
    st.builds(Exists, KEYS),
    st.builds(Within, KEYS, *[st.none() | NUMBERS.map(float)] * 4),
)


def joined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.one_of(st.builds(Every, several), st.builds(Some, several), st.builds(Not, parts))


FILTERS = st.recursive(LEAVES, joined, max_leaves=5)


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as opened:
        yield opened


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS, METADATA)
def test_sql_and_the_definition_agree(
    connection: psycopg.Connection, where: Filter, metadata: dict[str, MetadataValue]
) -> None:
    met, values = condition(where, SQL("m"))
    query = SQL("SELECT {}, m FROM (SELECT %s::jsonb AS m) AS row").format(met)
    row = connection.execute(query, [*values, Jsonb(metadata)]).fetchone()
    assert row is not None
    assert row[0] is is_met(where, metadata)
    assert metadata_of(row[1]) == metadata
