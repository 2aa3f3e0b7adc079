"""PostgreSQL keeps the rules of every backend, on a real server."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from astromesh_core.conversations import START
from astromesh_core.errors import Conflict, Unavailable
from astromesh_core.resources.connections import BackendAddress, postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_memory.backends.postgres import PostgresConversations
from astromesh_testing.contracts.conversations import DESK, ConversationsContract, Opener, apply, questions, remembered
from astromesh_testing.postgres import PostgresServer


def address_of(dsn: str) -> BackendAddress:
    return postgres_address(Connection(url="${DSN}"), {"DSN": dsn})


class TestPostgres(ConversationsContract):
    @pytest.fixture
    def opener(self, postgres: str) -> Opener:
        return lambda: PostgresConversations.open(address_of(postgres), "mesh")


async def test_meshes_that_share_a_database_do_not_see_each_other(postgres: str) -> None:
    one, two = [await PostgresConversations.open(address_of(postgres), mesh) for mesh in ("one", "two")]
    await one.follow(DESK, START)
    await apply(one, remembered(1))
    assert await two.followed() == {}
    assert await questions(two) == []
    await one.close()
    await two.close()


async def test_many_that_start_at_once_make_the_tables_once(postgres: str) -> None:
    stores = await asyncio.gather(*(PostgresConversations.open(address_of(postgres), "mesh") for _ in range(6)))
    await stores[0].follow(DESK, START)
    assert await stores[5].followed() == {DESK: START}
    await asyncio.gather(*(store.close() for store in stores))


async def test_tables_of_a_later_release_are_refused(postgres: str) -> None:
    await (await PostgresConversations.open(address_of(postgres), "mesh")).close()
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE astromesh.migrations SET version = 99")
    with pytest.raises(Conflict, match="version 99"):
        await PostgresConversations.open(address_of(postgres), "mesh")


async def test_a_server_that_is_gone_is_unavailable_and_comes_back(own_postgres: PostgresServer) -> None:
    address = address_of(own_postgres.fresh_database())
    store = await PostgresConversations.open(address, "mesh")
    await store.follow(DESK, START)
    await apply(store, remembered(1))
    own_postgres.stop()
    with pytest.raises(Unavailable, match="PostgreSQL at postgresql://127"):
        await questions(store)
    with pytest.raises(Unavailable, match="PostgreSQL at postgresql://127"):
        await PostgresConversations.open(address, "mesh")
    own_postgres.start()
    assert await questions(store) == ["q1"]
    await store.close()


async def test_a_wrong_password_is_never_shown(own_postgres: PostgresServer) -> None:
    dsn = own_postgres.fresh_database().replace("postgresql://postgres", "postgresql://nobody:my-wrong-one", 1)
    with pytest.raises(Unavailable) as raised:
        await PostgresConversations.open(address_of(dsn), "mesh")
    assert "my-wrong-one" not in str(raised.value)
