"""Connections to one PostgreSQL database, opened as they are needed. Knows no table.

`psycopg_pool` is not used: while the server is away it lets every caller wait for a timeout, which then does not say
why. Here a caller learns the reason at once, and the first call after the server is back succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from astromesh_core.errors import Unavailable
from astromesh_core.postgres.failures import RETRY_SECONDS, told_of, unreadable
from astromesh_core.resources.connections import BackendAddress

Session: TypeAlias = AsyncConnection[TupleRow]

CONNECT_SECONDS = 5
FRESH_SECONDS = 1.0
"""A connection that was used this lately is not tried before it is used again."""

IDLE_SECONDS = 300.0
"""Longer unused, it is closed: what stands between us and the server may have forgotten it."""

_DEFAULTS: dict[str, str | int] = {
    "application_name": "astromesh",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Database:
    """At most `size` connections, in autocommit mode; others wait their turn. Used from one event loop; close it.

    `prepare` is called with each new connection. Nothing is connected before the first use. While the server is away a
    use raises Unavailable with the reason, and the next one tries anew.
    """

    def __init__(
        self, address: BackendAddress, *, size: int = 4, prepare: Callable[[Session], Awaitable[None]] | None = None
    ) -> None:
        """Raises InvalidInput for an address that is none."""
        self.shown = address.shown
        self._conninfo = _completed(address.text)
        self._prepare = prepare
        self._turns = asyncio.Semaphore(size)
        self._idle: list[tuple[Session, float]] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self, seconds: float = 60.0) -> AsyncGenerator[Session]:
        """A connection for the block alone, which ends within so many seconds. Raises Unavailable."""
        if self._closed:
            raise Unavailable(f"the connection to PostgreSQL at {self.shown} is closed")
        try:
            async with asyncio.timeout(seconds), self._turns:
                with told_of(self.shown):
                    connection = await self._sound()
                    try:
                        yield connection
                    finally:
                        await self._returned(connection)
        except TimeoutError as error:
            message = f"PostgreSQL at {self.shown} did not answer within {seconds:.0f} s"
            raise Unavailable(message, retry_after=RETRY_SECONDS) from error

    @asynccontextmanager
    async def transaction(self, *, seconds: float = 60.0, one_state: bool = False) -> AsyncGenerator[Session]:
        """A connection in a transaction, committed at the block's end unless the block raises.

        With `one_state` it only reads, and all its reads see the database as the first one did.
        """
        async with self.connection(seconds) as connection:
            # What BEGIN says costs no message of its own.
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ if one_state else None)
            await connection.set_read_only(one_state or None)
            async with connection.transaction():
                yield connection

    async def renew(self) -> None:
        """Closes what is idle, so that connections made from now on are prepared anew."""
        await self._drop_idle()

    async def close(self) -> None:
        """Closes what is idle; what is in use is closed when it comes back. Idempotent."""
        self._closed = True
        await self._drop_idle()

    async def _sound(self) -> Session:
        while self._idle:
            connection, since = self._idle.pop()
            unused = time.monotonic() - since
            sound = unused < FRESH_SECONDS
            try:
                sound = sound or (unused < IDLE_SECONDS and await _answers(connection))
            finally:
                if not sound:
                    await connection.close()
            if sound:
                return connection
        return await self._opened()

    async def _opened(self) -> Session:
        connection = await AsyncConnection[TupleRow].connect(self._conninfo, autocommit=True)
        if self._prepare is not None:
            try:
                await self._prepare(connection)
            except BaseException:
                await connection.close()
                raise
        return connection

    async def _returned(self, connection: Session) -> None:
        if connection.closed:
            # What broke one connection mostly broke all.
            await self._drop_idle()
        elif self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append((connection, time.monotonic()))

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            await connection.close()


async def _answers(connection: Session) -> bool:
    try:
        await connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _completed(text: str) -> str:
    """The address with our defaults for what it does not say. Raises InvalidInput."""
    try:
        given = conninfo_to_dict(text)
        return make_conninfo(text, **{name: value for name, value in _DEFAULTS.items() if name not in given})
    except psycopg.ProgrammingError:
        refusal = unreadable()
    raise refusal
