"""Conversations in PostgreSQL 14 or later. Tables and statements stand in `postgres_statements`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, LiteralString

import psycopg

from astromesh_core.conversations import (
    Advance,
    AgentKey,
    Change,
    Forgotten,
    Place,
    Recalled,
    Remembered,
    Session,
    Summarised,
    Summary,
    Turn,
)
from astromesh_core.errors import Unavailable
from astromesh_core.postgres.database import Database
from astromesh_core.postgres.database import Session as Connection
from astromesh_core.postgres.failures import reason_of
from astromesh_core.postgres.migrations import migrate
from astromesh_core.resources.connections import BackendAddress
from astromesh_memory.backends import postgres_statements as sql

CONNECTIONS: Final = 8
"""At most, to one database; a call waits for a free one."""
ANSWER_SECONDS: Final = 10.0
DROP_SECONDS: Final = 600.0
"""An agent may have left millions of turns."""

_LATEST: Final = (2**63 - 1, "\U0010ffff")


class PostgresConversations:
    """One database, shared by all memory services of a mesh and by other meshes. A ConversationStore."""

    def __init__(self, database: Database, mesh: str) -> None:
        """`open` makes one."""
        self._database = database
        self._mesh = mesh

    @classmethod
    async def open(cls, address: BackendAddress, mesh: str) -> PostgresConversations:
        """Connects, and brings the tables up to date; `mesh` sets this mesh's rows apart from another's.

        The caller closes. Raises Unavailable, InvalidInput for an address that is none, and Conflict where a later
        release made the tables.
        """
        database = Database(address, size=CONNECTIONS)
        try:
            await migrate(database, "conversations", sql.STEPS)
        except BaseException:
            await database.close()
            raise
        return cls(database, mesh)

    async def followed(self) -> Mapping[AgentKey, bytes]:
        """See ConversationStore, as for all that follows."""
        rows = await self._rows(sql.FOLLOWED, [self._mesh])
        return {AgentKey(namespace, agent): bytes(position) for namespace, agent, position in rows}

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        async with self._connection() as connection:
            await connection.execute(sql.FOLLOW, [self._mesh, *agent, position])

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        agents = {AgentKey(change.namespace, change.agent) for change in changes}
        agents.update(advance.agent for advance in advances)
        if not agents:
            return ()
        async with self._transaction() as connection:
            positions = await self._lock(connection, agents)
            async with connection.pipeline():
                for change in changes:
                    if AgentKey(change.namespace, change.agent) in positions:
                        await self._apply(connection, change)
                return [it.agent for it in advances if not await self._advance(connection, positions, it)]

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        session = [self._mesh, agent.namespace, session_key]
        async with self._transaction(one_state=True) as connection, connection.pipeline():
            position = await connection.execute(sql.POSITION, [self._mesh, *agent])
            turns = await connection.execute(sql.LAST, [*session, most])
            summary = await connection.execute(sql.SUMMARY, session)
            known, rows, told = await position.fetchone(), await turns.fetchall(), await summary.fetchone()
        return Recalled(
            None if known is None else bytes(known[0]),
            [_turn(row) for row in reversed(rows)],
            None if told is None else Summary(told[0], told[1], bytes(told[2])),
        )

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        return [_turn(row) for row in await self._rows(sql.PAGE, [self._mesh, namespace, session_key, *after, most])]

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        rows = await self._rows(sql.SESSIONS, [self._mesh, *agent, *(before or _LATEST), most])
        return [_session(row) for row in rows]

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return [_session(row) for row in await self._rows(sql.IDLE, [self._mesh, *agent, until_unix_nano, most])]

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        place = [self._mesh, namespace]
        return [_session(row) for row in await self._rows(sql.OF_USER, [*place, *place, user_key])]

    async def drop(self, agent: AgentKey) -> None:
        async with self._transaction(DROP_SECONDS) as connection:
            for statement in sql.DROP:
                await connection.execute(statement, [self._mesh, *agent])

    async def close(self) -> None:
        await self._database.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        with self._told():
            async with self._database.connection(ANSWER_SECONDS) as connection:
                yield connection

    @asynccontextmanager
    async def _transaction(
        self, seconds: float = ANSWER_SECONDS, *, one_state: bool = False
    ) -> AsyncGenerator[Connection]:
        with self._told():
            async with self._database.transaction(seconds=seconds, one_state=one_state) as connection:
                yield connection

    @contextmanager
    def _told(self) -> Generator[None]:
        """Of whatever else the server says, such as that somebody dropped a table."""
        try:
            yield
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL at {self._database.shown}: {reason_of(error)}", retry_after=1.0) from error

    async def _rows(self, statement: LiteralString, values: Sequence[object]) -> list[tuple[Any, ...]]:
        async with self._connection() as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _lock(self, connection: Connection, agents: Collection[AgentKey]) -> dict[AgentKey, bytes]:
        # Whoever applies something of these agents waits here, in one order: so no two ever wait for each other.
        names = [list(column) for column in zip(*sorted(agents), strict=True)]
        rows = await (await connection.execute(sql.LOCK, [self._mesh, *names])).fetchall()
        return {AgentKey(namespace, agent): bytes(position) for namespace, agent, position in rows}

    async def _apply(self, connection: Connection, change: Change) -> None:
        values = {**change._asdict(), "mesh": self._mesh}
        match change:
            case Remembered():
                await connection.execute(sql.REMEMBER, values)
            case Summarised():
                await connection.execute(sql.SUMMARISE, values)
            case Forgotten():
                for statement in (sql.FORGET, sql.DROP_SUMMARY, sql.DROP_TURNS, sql.DROP_SESSION, sql.COUNT_SESSION):
                    await connection.execute(statement, values)

    async def _advance(self, connection: Connection, positions: dict[AgentKey, bytes], advance: Advance) -> bool:
        position = positions.get(advance.agent)
        if position is None or position < advance.after:
            return False
        if position < advance.upto:
            positions[advance.agent] = advance.upto
            await connection.execute(sql.ADVANCE, [advance.upto, self._mesh, *advance.agent])
        return True


def _turn(row: Sequence[Any]) -> Turn:
    run_id, time_unix_nano, user_key, stored, position, index = row
    return Turn(run_id, time_unix_nano, user_key, bytes(stored), Place(bytes(position), index))


def _session(row: Sequence[Any]) -> Session:
    session_key, agent, session_id, *counts = row
    return Session(session_key, agent, bytes(session_id), *counts)
