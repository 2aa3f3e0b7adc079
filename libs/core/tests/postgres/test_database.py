"""Connections to PostgreSQL: reused, bounded, back by themselves, and silent about passwords."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from psycopg import errors, sql

from astromesh_core.errors import Conflict, InvalidInput, Unavailable
from astromesh_core.postgres.database import Database, Session
from astromesh_core.postgres.migrations import migrate
from astromesh_core.resources.connections import BackendAddress, postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.postgres import PostgresServer
from astromesh_testing.waiting import until


def address(dsn: str) -> BackendAddress:
    return postgres_address(Connection(url=dsn), {})


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[Database]:
    opened = Database(address(postgres), size=2)
    yield opened
    await opened.close()


async def scalar(connection: Session, query: str) -> object:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def asked(database: Database, query: str) -> object:
    async with database.connection() as connection:
        return await scalar(connection, query)


async def test_a_connection_is_used_again(database: Database) -> None:
    pids = {await asked(database, "SELECT pg_backend_pid()") for _ in range(5)}
    assert len(pids) == 1


async def test_there_are_never_more_connections_than_allowed(database: Database) -> None:
    pids = await asyncio.gather(*(asked(database, "SELECT pg_backend_pid() FROM pg_sleep(0.02)") for _ in range(8)))
    assert len(set(pids)) == 2


async def test_callers_that_leave_take_no_connection_with_them(database: Database) -> None:
    for _ in range(3):
        leaving = [asyncio.create_task(asked(database, "SELECT pg_sleep(30)")) for _ in range(4)]
        await asyncio.sleep(0.05)
        for task in leaving:
            task.cancel()
        ends = await asyncio.gather(*leaving, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    there = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

    async def is_alone() -> bool:
        return await asked(database, f"{there} AND state = 'active'") == 1

    await until(is_alone)
    assert await asked(database, there) in (1, 2)


async def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    async def insert(number: str) -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("INSERT INTO t VALUES (%s)", (number,))

    async with database.connection() as connection:
        await connection.execute("CREATE TABLE t (n int)")
    with pytest.raises(errors.InvalidTextRepresentation):
        await insert("none")
    assert await asked(database, "SELECT count(*) FROM t") == 0


async def test_reads_of_one_state_see_nothing_of_what_is_written_meanwhile(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE t (n int)")
    async with database.transaction(one_state=True) as reading:
        assert await scalar(reading, "SELECT count(*) FROM t") == 0
        async with database.transaction() as writing:
            await writing.execute("INSERT INTO t VALUES (1)")
        assert await scalar(reading, "SELECT count(*) FROM t") == 0
    assert await asked(database, "SELECT count(*) FROM t") == 1


async def test_a_server_that_went_away_is_told_at_once_and_serves_when_it_is_back(own_postgres: PostgresServer) -> None:
    database = Database(address(own_postgres.dsn()))
    assert await asked(database, "SELECT 1") == 1
    await asyncio.to_thread(own_postgres.stop)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await asked(database, "SELECT 1")
    with pytest.raises(Unavailable, match="refused") as gone:
        await asked(database, "SELECT 1")
    assert own_postgres.password not in str(gone.value)
    assert gone.value.retry_after
    assert time.monotonic() - begun < 5
    await asyncio.to_thread(own_postgres.start)
    assert await asked(database, "SELECT 1") == 1
    await database.close()


async def test_a_server_that_answers_nothing_is_waited_for_no_longer_than_told(own_postgres: PostgresServer) -> None:
    database = Database(address(own_postgres.dsn()))
    assert await asked(database, "SELECT 1") == 1
    own_postgres.pause()
    with pytest.raises(Unavailable, match="did not answer within 0 s"):
        async with database.connection(0.3) as connection:
            await connection.execute("SELECT 1")
    own_postgres.resume()

    async def answered() -> bool:
        return await asked(database, "SELECT 1") == 1

    await until(answered)
    await database.close()


@pytest.mark.parametrize(
    ("user", "database_name", "reason"),
    [("postgres", "nowhere", 'database "nowhere" does not exist'), ("nobody", "postgres", "password authentication")],
)
async def test_the_reason_is_told_without_the_password(
    postgres_server: PostgresServer, user: str, database_name: str, reason: str
) -> None:
    database = Database(address(postgres_server.dsn(database_name, user=user)))
    with pytest.raises(Unavailable, match=reason) as refused:
        await asked(database, "SELECT 1")
    assert postgres_server.password not in str(refused.value)


def test_an_address_that_libpq_does_not_read_is_not_repeated() -> None:
    with pytest.raises(InvalidInput, match="no PostgreSQL address") as refused:
        Database(BackendAddress("postgresql://h/db?s3cret=1", "h"))
    assert "s3cret" not in str(refused.value)
    assert refused.value.__context__ is None


async def test_a_closed_database_says_so(database: Database) -> None:
    await database.close()
    with pytest.raises(Unavailable, match="closed"):
        await asked(database, "SELECT 1")


STEPS = [
    [sql.SQL("CREATE TABLE a (n int)")],
    [sql.SQL("ALTER TABLE a ADD COLUMN m int"), sql.SQL("INSERT INTO a VALUES (1, 2)")],
]


async def test_replicas_that_start_together_migrate_once(postgres: str) -> None:
    replicas = [Database(address(postgres)) for _ in range(6)]
    await asyncio.gather(*(migrate(replica, "test", STEPS) for replica in replicas))
    assert await asked(replicas[0], "SELECT count(*) FROM a") == 1
    assert await asked(replicas[0], "SELECT array_agg(version ORDER BY version) FROM astromesh.migrations") == [1, 2]
    for replica in replicas:
        await replica.close()


async def test_a_migration_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(errors.DivisionByZero):
        await migrate(database, "test", [*STEPS, [sql.SQL("SELECT 1 / 0")]])
    assert await asked(database, "SELECT to_regclass('a') IS NULL AND to_regclass('astromesh.migrations') IS NULL")
    await migrate(database, "test", STEPS[:1])
    await migrate(database, "test", STEPS)
    await migrate(database, "test", STEPS)
    assert await asked(database, "SELECT m FROM a") == 2


async def test_tables_of_a_newer_release_are_left_alone(database: Database) -> None:
    await migrate(database, "test", STEPS)
    with pytest.raises(Conflict, match="version 2, this release has 1"):
        await migrate(database, "test", STEPS[:1])


async def test_a_user_without_the_right_is_told_what_it_lacks_and_needs_none_where_nothing_is_to_do(
    postgres: str, postgres_server: PostgresServer
) -> None:
    name = postgres.rpartition("/")[2]
    postgres_server.execute("DROP ROLE IF EXISTS modest", "CREATE ROLE modest LOGIN PASSWORD 'modest'")
    modest = Database(address(postgres_server.dsn(name, user="modest", password="modest")))
    with pytest.raises(Unavailable, match="permission denied for database"):
        await migrate(modest, "test", STEPS)
    owner = Database(address(postgres))
    await migrate(owner, "test", STEPS)
    grants = "GRANT USAGE ON SCHEMA astromesh TO modest; GRANT SELECT ON astromesh.migrations TO modest"
    postgres_server.execute(grants, database=name)
    await migrate(modest, "test", STEPS)
    await owner.close()
    await modest.close()
