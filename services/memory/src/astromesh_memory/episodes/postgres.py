"""Episodes in PostgreSQL. An `EpisodeStore`; needs the extra `postgres`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from psycopg import sql

from astromesh_core.postgres.database import Database
from astromesh_core.postgres.migrations import migrate
from astromesh_core.resources.connections import BackendAddress
from astromesh_memory.episodes.ports import KeptEpisode
from astromesh_memory.runs.scopes import Among

CALL_SECONDS: Final = 10.0
_STEPS: Final = (
    (
        sql.SQL(
            "CREATE TABLE astromesh.episode (mesh text NOT NULL, namespace text NOT NULL, agent text NOT NULL,"
            " run_id text NOT NULL, session_key text NOT NULL, owner_key text NOT NULL, time_unix_nano bigint NOT NULL,"
            " version bytea NOT NULL, vector bytea NOT NULL, episode bytea NOT NULL,"
            " PRIMARY KEY (mesh, namespace, agent, run_id))"
        ),
        sql.SQL("CREATE INDEX ON astromesh.episode (mesh, namespace, agent, owner_key, time_unix_nano)"),
        sql.SQL("CREATE INDEX ON astromesh.episode (mesh, namespace, agent, session_key, time_unix_nano)"),
        sql.SQL("CREATE INDEX ON astromesh.episode (mesh, namespace, agent, time_unix_nano)"),
    ),
)
_COLUMNS: Final = sql.SQL(", ").join(map(sql.Identifier, KeptEpisode._fields))
_PUT: Final = sql.SQL(
    "INSERT INTO astromesh.episode (mesh, {columns}) VALUES (%s, {places}) ON CONFLICT (mesh, namespace, agent, run_id)"
    " DO UPDATE SET ({columns}) = ROW ({excluded})"
).format(
    columns=_COLUMNS,
    places=sql.SQL(", ").join([sql.Placeholder()] * len(KeptEpisode._fields)),
    excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in KeptEpisode._fields),
)
_VERSIONS: Final = sql.SQL(
    "SELECT run_id, version FROM astromesh.episode WHERE mesh = %s AND namespace = %s AND agent = %s"
)
_REMOVE: Final = sql.SQL(
    "DELETE FROM astromesh.episode WHERE mesh = %s AND namespace = %s AND agent = %s AND run_id = ANY(%s::text[])"
)
_THOSE: Final = sql.SQL(
    "SELECT {columns} FROM astromesh.episode"
    " WHERE mesh = %s AND namespace = %s AND agent = %s AND run_id = ANY(%s::text[]) ORDER BY run_id"
).format(columns=_COLUMNS)
_LAST: Final = sql.SQL(
    "SELECT {columns} FROM astromesh.episode WHERE mesh = %(mesh)s AND namespace = %(namespace)s AND agent = %(agent)s"
    " AND (%(owner)s::text IS NULL OR owner_key = %(owner)s)"
    " AND (%(session)s::text IS NULL OR session_key = %(session)s)"
    " AND time_unix_nano > %(since)s ORDER BY time_unix_nano DESC, run_id DESC LIMIT %(limit)s"
).format(columns=_COLUMNS)


class PostgresEpisodes:
    """One database, connected to by the first call. Its table is made then, unless it is there."""

    def __init__(self, address: BackendAddress, mesh: str) -> None:
        """`mesh` tells apart meshes that share the database. Raises InvalidInput for an address that is none."""
        self._mesh = mesh
        self._database = Database(address)
        self._preparing = asyncio.Lock()
        self._prepared = False

    async def versions(self, namespace: str, agent: str) -> Mapping[str, bytes]:
        """See the port, as for all that follows."""
        await self._prepare()
        async with self._database.connection(CALL_SECONDS) as connection:
            rows = await (await connection.execute(_VERSIONS, (self._mesh, namespace, agent))).fetchall()
        return {row[0]: bytes(row[1]) for row in rows}

    async def put(self, episode: KeptEpisode) -> None:
        await self._prepare()
        async with self._database.connection(CALL_SECONDS) as connection:
            await connection.execute(_PUT, (self._mesh, *episode))

    async def remove(self, namespace: str, agent: str, run_ids: Sequence[str]) -> None:
        await self._prepare()
        async with self._database.connection(CALL_SECONDS) as connection:
            await connection.execute(_REMOVE, (self._mesh, namespace, agent, list(run_ids)))

    async def last(
        self, namespace: str, agent: str, among: Among, limit: int, since_unix_nano: int = 0
    ) -> list[KeptEpisode]:
        await self._prepare()
        values = {
            "mesh": self._mesh,
            "namespace": namespace,
            "agent": agent,
            "owner": among.owner_key,
            "session": among.session_key,
            "since": since_unix_nano,
            "limit": limit,
        }
        async with self._database.connection(CALL_SECONDS) as connection:
            rows = await (await connection.execute(_LAST, values)).fetchall()
        return [KeptEpisode(*row) for row in rows]

    async def those(self, namespace: str, agent: str, run_ids: Sequence[str]) -> list[KeptEpisode]:
        await self._prepare()
        async with self._database.connection(CALL_SECONDS) as connection:
            values = (self._mesh, namespace, agent, list(run_ids))
            rows = await (await connection.execute(_THOSE, values)).fetchall()
        return [KeptEpisode(*row) for row in rows]

    async def close(self) -> None:
        await self._database.close()

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._prepared:
                await migrate(self._database, "episodes", _STEPS)
                self._prepared = True
