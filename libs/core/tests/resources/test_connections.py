"""A declared connection becomes the address a driver takes, and shows its password to nobody else."""

from __future__ import annotations

import json

import pytest

from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.connections import postgres_address, redis_address
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.stores import Connection

ENVIRON = {"PG": "postgresql://app:s3cret@db:5432/rag?sslmode=require", "PASSWORD": "p@ss/w: 'o'\\", "HOST": "db"}
PASSWORD_IN_URL = "p%40ss%2Fw%3A%20%27o%27%5C"


def connection(**fields: object) -> Connection:
    return Connection.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("fields", "text", "shown"),
    [
        ({"url": "${PG}"}, ENVIRON["PG"], "postgresql://db:5432/rag"),
        ({"url": "postgres://db"}, "postgres://db", "postgres://db"),
        ({"url": "postgresql+asyncpg://app@db/rag"}, "postgresql://app@db/rag", "postgresql://db/rag"),
        ({"host": "${HOST}", "port": 1, "database": "a b"}, "postgresql://db:1/a%20b", "postgresql://db:1/a%20b"),
        ({"host": "::1"}, "postgresql://[::1]/", "postgresql://[::1]/"),
        ({"host": "/run/pg", "database": "rag"}, "postgresql://%2Frun%2Fpg/rag", "postgresql://%2Frun%2Fpg/rag"),
        (
            {"host": "db", "user": "o'neil", "password": "${PASSWORD}"},
            f"postgresql://o%27neil:{PASSWORD_IN_URL}@db/",
            "postgresql://db/",
        ),
        (
            {"url": "postgresql://app@one,two/rag?password=x", "password": "${PASSWORD}"},
            f"postgresql://app:{PASSWORD_IN_URL}@one,two/rag?password=x",
            "postgresql://one,two/rag",
        ),
        (
            {"url": "host=db dbname=rag user=app", "password": "${PASSWORD}"},
            "host=db dbname=rag user=app password='p@ss/w: \\'o\\'\\\\'",
            "host=db dbname=rag",
        ),
    ],
)
def test_a_connection_is_an_address_of_postgresql(fields: dict[str, object], text: str, shown: str) -> None:
    address = postgres_address(connection(**fields), ENVIRON)
    assert (address.text, address.shown) == (text, shown)
    assert text not in repr(address) or text == shown


@pytest.mark.parametrize(
    ("fields", "text", "shown"),
    [
        ({"url": "rediss://:x@cache:6380/2"}, "rediss://:x@cache:6380/2", "rediss://cache:6380/2"),
        (
            {"host": "cache", "port": 6379, "database": "3", "password": "${PASSWORD}"},
            f"redis://:{PASSWORD_IN_URL}@cache:6379/3",
            "redis://cache:6379/3",
        ),
        ({"url": "unix:///run/redis.sock?db=1"}, "unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_connection_is_an_address_of_redis(fields: dict[str, object], text: str, shown: str) -> None:
    address = redis_address(connection(**fields), ENVIRON)
    assert (address.text, address.shown) == (text, shown)


@pytest.mark.parametrize(
    "url", ["s3cret", "mysql://app:s3cret@db", "http://s3cret", "postgresql://[s3cret/", "s3cret="]
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput, match="redis://host") as refused:
        redis_address(connection(url=url), {})
    assert "s3cret" not in str(refused.value)
    assert refused.value.__context__ is None


def test_where_nothing_is_declared_the_environment_tells() -> None:
    assert postgres_address(None, {"PGHOST": "db", "PGDATABASE": "rag", "PGPASSWORD": "s3cret"}).shown == "db/rag"
    assert redis_address(None, {"REDIS_URL": "redis://:x@cache/1"}).shown == "redis://cache/1"
    with pytest.raises(InvalidInput, match=r"connection\.url, or set PGHOST"):
        postgres_address(None, {})
    with pytest.raises(InvalidInput, match=r"connection\.url, or set REDIS_URL"):
        redis_address(None, {})


def test_an_unset_variable_is_named_and_a_secret_of_kubernetes_too() -> None:
    with pytest.raises(InvalidInput, match="DATABASE_URL is not set"):
        postgres_address(connection(url="${DATABASE_URL}"), {})
    with pytest.raises(NotSupported, match="pg/dsn"):
        postgres_address(connection(secretKeyRef={"name": "pg", "key": "dsn"}), {})


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{}", "has no address"),
        ("{url: 'postgresql://db', host: db}", "has url and host"),
        ("{url: 'postgresql://db', port: 5432}", "port stands in url already"),
        ("{secretKeyRef: {name: a, key: b}, user: c}", "user stands in secret_key_ref already"),
        ("{url: 'host=db password=s3cret'}", "secret"),
        ("{url: 'postgresql://app:s3cret@db'}", "secret"),
    ],
)
def test_a_connection_that_contradicts_itself_or_holds_a_password_is_refused(written: str, reason: str) -> None:
    text = "apiVersion: astromesh/v1\nkind: RAGPipeline\nmetadata: {name: p}\n"
    text += f"spec: {{vector_store: {{backend: pgvector, connection: {written}}}}}\n"
    (problem,) = load_text(text, "f.yaml").problems
    assert reason in str(problem)
    assert "s3cret" not in str(problem)
