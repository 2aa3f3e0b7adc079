"""Databases as a tool: what is shown of rows, and that no statement writes, reaches elsewhere, or runs on."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from astromesh_testing.contracts.placement import Placement

from .serving import Mesh, failed, running

STATEMENTS = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT, total NUMERIC)",
    "INSERT INTO orders VALUES (1, 'Ada', 12.5), (2, 'Bob', 7), (3, 'Ada', 30)",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "shop.db"
    path.parent.mkdir()
    (tmp_path / "data").mkdir()
    for place in (path, tmp_path / "data" / "secret.db"):
        with closing(sqlite3.connect(place)) as connection, connection:
            for statement in STATEMENTS:
                connection.execute(statement)
    return path


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement) as mesh:
        yield mesh


def database(**config: object) -> dict[str, object]:
    return {"name": "sql_query", "type": "builtin", "timeout": 20, "config": config}


def asking(query: str, *params: object) -> str:
    return orjson.dumps({"query": query, "params": params}).decode()


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    if request.param == "sqlite":
        return {"path": "shop.db"}
    import psycopg

    dsn = str(request.getfixturevalue("postgres"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in STATEMENTS:
            connection.execute(statement.encode())
    monkeypatch.setenv("SHOP_DB", dsn)
    return {"connection_string": "${SHOP_DB}"}


async def test_rows_are_asked_for_with_their_parameters(mesh: Mesh, shop: dict[str, object]) -> None:
    agent = mesh.agents.add(database(**shop))
    place = "?" if "path" in shop else "%s"
    query = f"SELECT id, buyer, total FROM orders WHERE buyer = {place} ORDER BY id"
    shown = orjson.loads(await mesh.output(agent, "sql_query", asking(query, "Ada")))
    assert shown["columns"] == ["id", "buyer", "total"]
    assert [(row[0], row[1], float(row[2])) for row in shown["rows"]] == [(1, "Ada", 12.5), (3, "Ada", 30.0)]
    none = orjson.loads(await mesh.output(agent, "sql_query", asking(query, "'; DROP TABLE orders; --")))
    assert none["rows"] == []


async def test_the_schema_is_shown_without_a_query(mesh: Mesh, shop: dict[str, object]) -> None:
    shown = await mesh.output(mesh.agents.add(database(**shop)), "sql_query", "{}")
    assert "orders" in shown
    assert "buyer" in shown


async def test_rows_are_bounded_and_it_is_told(mesh: Mesh, shop: dict[str, object]) -> None:
    agent = mesh.agents.add(database(max_rows=2, **shop))
    shown = orjson.loads(await mesh.output(agent, "sql_query", asking("SELECT id FROM orders ORDER BY id")))
    assert shown["rows"] == [[1], [2]]
    assert shown["note"].startswith("only the first 2 rows")


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM orders",
        "DROP TABLE orders",
        "SELECT 1; DELETE FROM orders",
        "SELECT 1; COMMIT; DELETE FROM orders",
        "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
        "WITH one AS (SELECT 1) DELETE FROM orders",
        "PRAGMA query_only = OFF",
        "ATTACH 'data/secret.db' AS s",
        "COPY orders TO '/tmp/out'",
        "/* SELECT */ UPDATE orders SET total = 0",
        "SELECT * FROM orders INTO OUTFILE 'x'",
        "SELECT * FROM nowhere",
        "SELECT load_extension('x')",
        "SELECT ?",
    ],
)
async def test_nothing_but_a_read_is_done(mesh: Mesh, shop: dict[str, object], query: str) -> None:
    agent = mesh.agents.add(database(**shop))
    kind, message = failed(await mesh.call(agent, "sql_query", asking(query)))
    assert kind in ("denied", "invalid-input"), message
    count = orjson.loads(await mesh.output(agent, "sql_query", asking("SELECT count(*), sum(total) > 49 FROM orders")))
    assert count["rows"] in ([[3, 1]], [[3, True]])


async def test_a_query_without_end_is_stopped(mesh: Mesh, shop: dict[str, object]) -> None:
    agent = mesh.agents.add({**database(**shop), "timeout": 1.0})
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert failed(await mesh.call(agent, "sql_query", asking(endless)))[0] == "timed-out"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"path": "nowhere.db"}, "not-found"),
        ({"path": "../data/secret.db"}, "denied"),
        ({"url": "postgresql://127.0.0.1:1/x"}, "unavailable"),
        ({"url": "${NOT_SET}"}, "invalid-input"),
    ],
)
async def test_a_database_that_cannot_be_asked_is_told(
    mesh: Mesh, file: Path, config: dict[str, str], error: str
) -> None:
    kind, message = failed(await mesh.call(mesh.agents.add(database(**config)), "sql_query", asking("SELECT 1")))
    assert kind == error, message


async def test_a_sqlite_address_and_huge_values_are_understood(mesh: Mesh, file: Path) -> None:
    agent = mesh.agents.add(database(url="sqlite:///shop.db"))
    assert '"rows":[[3]]' in await mesh.output(agent, "sql_query", asking("SELECT count(*) FROM orders"))
    assert failed(await mesh.call(agent, "sql_query", asking("SELECT zeroblob(900000000)")))[0] == "invalid-input"
    assert "[9 bytes]" in await mesh.output(agent, "sql_query", asking("SELECT zeroblob(9)"))
