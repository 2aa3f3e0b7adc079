"""The pytest plugin of the repository: fixtures that give a test a real server, and a bus or a database on it.

`postgres` and `redis_url` are addresses on a server that the session's tests share, started by the first that asks;
`own_postgres` and `own_redis` are servers of the test's own, to be stopped, killed, paused and started again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_testing.nats import NatsServer, nats_server

if TYPE_CHECKING:
    from astromesh_testing.postgres import PostgresServer
    from astromesh_testing.redis import RedisServer


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of the test's own, with every stream declared and empty. May be killed, paused and restarted."""
    async with nats_server(tmp_path) as server:
        yield server


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    """A bus on the test's server, with every service's permissions together."""
    async with nats.bus() as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of all tests of this process. It is never stopped: take `own_postgres` for that."""
    from astromesh_testing.postgres import IN_HASTE, postgres_server

    with postgres_server(IN_HASTE) as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database of the test's own, as a superuser. pgvector can be created in it."""
    dsn = postgres_server.fresh_database()
    yield dsn
    postgres_server.drop_database(dsn)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, which keeps what it acknowledged: `stop`, `kill`, `pause` and `start` it."""
    from astromesh_testing.postgres import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis of all tests of this process. It is never stopped: take `own_redis` for that."""
    from astromesh_testing.redis import redis_server

    with redis_server(append_only=False) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address, with its password, of a Redis that holds nothing."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, which keeps what it acknowledged: `stop`, `kill`, `pause` and `start` it."""
    from astromesh_testing.redis import redis_server

    with redis_server() as server:
        yield server
