"""The servers that tests run on: they start from nothing, come back after a kill, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from astromesh_testing.postgres import IN_HASTE, NOT_ROOT, PostgresServer, wheel_installation
from astromesh_testing.redis import RedisServer
from astromesh_testing.server_process import NotStarted, ServerProcess

_SESSION = """
import sys
from astromesh_testing.{kind} import {kind}_server
with {kind}_server() as server:
    print(server.folder, server._process.pid, flush=True)
    sys.stdin.read()
"""


def test_a_database_is_the_tests_own_and_has_vectors(postgres: str, postgres_server: PostgresServer) -> None:
    other = postgres_server.fresh_database()
    with psycopg.connect(postgres, autocommit=True) as connection, psycopg.connect(other) as beside:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE kept AS SELECT '[1,2]'::vector <=> '[2,4]'::vector AS distance")
        assert connection.execute("SELECT distance FROM kept").fetchall() == [(0.0,)]
        with pytest.raises(psycopg.errors.UndefinedTable):
            beside.execute("SELECT * FROM kept")


def test_postgresql_keeps_strangers_out(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_server.dsn(password="guessed"))


def test_postgresql_is_never_root(postgres_server: PostgresServer) -> None:
    owner = postgres_server.folder.stat().st_uid
    assert owner != 0
    assert (os.geteuid() == 0) == (postgres_server.folder.owner() == NOT_ROOT)


def test_postgresql_comes_back_with_what_it_acknowledged(own_postgres: PostgresServer) -> None:
    own_postgres.execute("CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(own_postgres.dsn())
    own_postgres.start()
    own_postgres.execute("INSERT INTO kept VALUES (2)")
    own_postgres.stop()
    own_postgres.start()
    with psycopg.connect(own_postgres.dsn()) as connection:
        assert connection.execute("SELECT sum(n) FROM kept").fetchone() == (3,)


def test_a_paused_server_answers_nothing_and_then_goes_on(own_redis: RedisServer) -> None:
    own_redis.pause()
    with pytest.raises(TimeoutError):
        own_redis.ask("PING", timeout=0.2)
    own_redis.resume()
    assert own_redis.ask("PING") == "+PONG"


def test_redis_comes_back_with_what_it_acknowledged(own_redis: RedisServer) -> None:
    own_redis.ask("SET kept 1")
    own_redis.kill()
    with pytest.raises(ConnectionRefusedError):
        own_redis.ask("GET kept")
    own_redis.start()
    assert own_redis.ask("STRLEN kept") == ":1"


@pytest.mark.parametrize("time", ["first", "second"])
def test_redis_is_empty_for_each_test(redis_url: str, redis_server: RedisServer, time: str) -> None:
    assert redis_url == redis_server.url
    assert redis_server.ask("DBSIZE") == ":0"
    redis_server.ask(f"SET left {time}")


def test_redis_keeps_strangers_out(redis_server: RedisServer) -> None:
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


@pytest.mark.skipif(os.geteuid() != 0, reason="others run PostgreSQL as themselves")
def test_binaries_in_a_private_folder_are_copied_and_the_folder_stays_private(tmp_path: Path) -> None:
    wheel = wheel_installation()
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    for part in (wheel, wheel.parent.with_name(f"{wheel.parent.name}.libs")):
        shutil.copytree(part, private / part.relative_to(wheel.parent.parent), symlinks=True)
    server = PostgresServer(IN_HASTE, installation=private / wheel.relative_to(wheel.parent.parent))
    try:
        server.start()
        server.execute("CREATE EXTENSION vector")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    finally:
        server.close()


def test_a_port_that_somebody_took_meanwhile_is_left_to_them() -> None:
    server = RedisServer()
    try:
        with socket.create_server(("127.0.0.1", server.port)):
            server.start()
            assert server.ask("PING") == "+PONG"
        port = server.port
        server.stop()
        with socket.create_server(("127.0.0.1", port)), pytest.raises(NotStarted):
            server.start()
        server.start()
        assert server.port == port
    finally:
        server.close()


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_server_ends_with_a_session_that_is_killed_and_leaves_no_file(kind: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SESSION.format(kind=kind)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        folder, pid = session.stdout.readline().split()
        os.kill(int(pid), 0)
        session.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    process = ServerProcess(["/bin/sh", "-c", "echo no room >&2; exit 1"], tmp_path)
    with pytest.raises(NotStarted, match="no room"):
        process.wait_until(lambda: False)
    process.stop()
